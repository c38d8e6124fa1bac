//! Owns the walk along a forward's way, from its configuration to the service's answer:
//! which steps there are, which one a problem blames, what a person can run to see the same.
//!
//! Receives what each step met; emits the [`Diagnosis`]: every step, and the first that
//! failed with its remedy.

mod blame;
mod by_hand;
mod plugin;
mod words;

pub use blame::blames;
pub use by_hand::command;
pub use plugin::opens_browser;
pub use words::lines;

use crate::config::{ForwardSpec, Target};
use crate::problem::{Code, Problem};
use crate::snapshot::Technology;
use serde::{Deserialize, Serialize};
use std::time::Duration;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One step of the way, in the order in which they are walked.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
        pub enum Step { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Step {
            /// Every step.
            pub const ALL: &'static [Step] = &[$(Step::$name,)*];

            /// The word that JSON and people see.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Step::$name => $text,)* }
            }
        }
    };
}

steps! {
    /// The forward as it is configured.
    Config = "config",
    /// The local port, where LocalPort runs.
    Listener = "listener",
    /// The kubeconfig and its context.
    Kubeconfig = "kubeconfig",
    /// What `ssh` makes of the host by its own configuration.
    SshConfig = "ssh-config",
    /// The name of the server, of its proxy or of the first jump host.
    Dns = "dns",
    /// A TCP connection to it, through the proxy where there is one.
    Tcp = "tcp",
    /// The TLS handshake with the API server.
    Tls = "tls",
    /// The first words of the SSH server.
    Greeting = "greeting",
    /// The SSH server's host key.
    HostKey = "host-key",
    /// Who we are.
    Auth = "auth",
    /// What we may do in the namespace.
    Rbac = "rbac",
    /// Whether the SSH server lets connections through.
    Forwarding = "forwarding",
    /// The service, the workload or the host that is meant.
    Target = "target",
    /// A ready pod behind it.
    Pod = "pod",
    /// A connection to its port, through the tunnel.
    Port = "port",
    /// The answer that the forward's check asks for.
    Answer = "answer",
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Ok,
    /// It does not.
    Failed,
    /// It was not looked at.
    Skipped,
}

/// One step that was walked or passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Walked {
    /// Which.
    pub step: Step,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, in milliseconds; none where it was not timed by itself.
    pub took_ms: Option<f64>,
    /// What was found, what failed, or why it was skipped.
    pub said: String,
}

/// The first step that failed, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// What is wrong, and its remedy.
    pub problem: Problem,
    /// What shows the same in a terminal.
    pub command: Option<String>,
}

/// The way of one forward, or of one context, as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Diagnosis {
    /// The forward's name, or the context's.
    pub name: String,
    /// What carries it.
    pub technology: Technology,
    /// The Kubernetes context or SSH destination.
    pub context: String,
    /// Where it leads; none where the context alone was asked about.
    pub target: Option<String>,
    /// Whether every step holds that there is to hold.
    pub well: bool,
    /// Every step, in order.
    pub steps: Vec<Walked>,
    /// The first step that failed.
    pub finding: Option<Finding>,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The forward; of a context any one that goes through it.
    pub spec: ForwardSpec,
    /// The context that is asked about, when it is not the forward.
    pub context: Option<String>,
}

impl Subject {
    /// The forward called `name`, else the way to the context of that name, as the first
    /// of `forwards` goes that uses it.
    #[must_use]
    pub fn find(name: &str, forwards: &[ForwardSpec]) -> Option<Self> {
        if let Some(spec) = forwards.iter().find(|spec| spec.name == name) {
            return Some(Self { spec: spec.clone(), context: None });
        }
        let through = |spec: &&ForwardSpec| match &spec.target {
            Target::Kube(kube) => kube.context.as_deref() == Some(name),
            Target::Ssh(ssh) => ssh.host == name || ssh.destination() == name,
        };
        let spec = forwards.iter().find(through)?.clone();
        Some(Self { spec, context: Some(name.to_owned()) })
    }

    /// The steps of its way.
    #[must_use]
    pub fn plan(&self) -> Vec<Step> {
        use Step::{
            Answer, Auth, Config, Dns, Forwarding, Greeting, HostKey, Kubeconfig, Listener, Pod,
            Port, Rbac, SshConfig, Target as Goal, Tcp, Tls,
        };
        let all: &[Step] = match &self.spec.target {
            Target::Kube(_) => {
                &[Config, Listener, Kubeconfig, Dns, Tcp, Tls, Auth, Rbac, Goal, Pod, Port, Answer]
            }
            Target::Ssh(_) => &[
                Config, Listener, SshConfig, Dns, Tcp, Greeting, HostKey, Auth, Forwarding, Goal,
                Answer,
            ],
        };
        let whole = self.context.is_none();
        all.iter().copied().filter(|step| whole || of_context(*step)).collect()
    }
}

/// Whether a step belongs to the context and not to the forward alone.
fn of_context(step: Step) -> bool {
    use Step::{Auth, Config, Dns, Greeting, HostKey, Kubeconfig, SshConfig, Tcp, Tls};
    matches!(step, Config | Kubeconfig | SshConfig | Dns | Tcp | Tls | Greeting | HostKey | Auth)
}

/// The walk under way. Steps that are not in the plan are passed over in silence.
#[derive(Clone, Debug)]
pub struct Walk {
    subject: Subject,
    plan: Vec<Step>,
    steps: Vec<Walked>,
    finding: Option<Finding>,
    /// Whether a step could not be looked at that would have to be.
    open: bool,
}

impl Walk {
    /// A walk that begins.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        let plan = subject.plan();
        Self { subject, plan, steps: vec![], finding: None, open: false }
    }

    /// What is asked about.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether `step` is in the plan.
    #[must_use]
    pub fn has(&self, step: Step) -> bool {
        self.plan.contains(&step)
    }

    /// `step` holds.
    pub fn ok(&mut self, step: Step, took: Option<Duration>, said: impl Into<String>) {
        self.note(step, Outcome::Ok, took, said.into());
    }

    /// `step` fails. The first failure is the finding; steps after it may be walked where
    /// they do not depend on it.
    pub fn fail(&mut self, step: Step, took: Option<Duration>, problem: Problem) {
        self.note(step, Outcome::Failed, took, problem.sentence.clone());
        if self.finding.is_none() {
            let command = command(step, &self.subject, problem.code);
            self.finding = Some(Finding { step, problem, command });
        }
    }

    /// There is nothing to look at in `step`.
    pub fn skip(&mut self, step: Step, why: impl Into<String>) {
        self.note(step, Outcome::Skipped, None, why.into());
    }

    /// `step` and what follows cannot be looked at, though they would have to be.
    pub fn stop(&mut self, step: Step, why: impl Into<String>) {
        self.open = true;
        self.skip(step, why);
    }

    /// One act did the steps from the next one up to `last`, and met `problem`: the steps
    /// before the one that it blames hold.
    pub fn settle(&mut self, last: Step, took: Duration, problem: Problem) {
        let blamed = blames(problem.code).min(last);
        let ahead: Vec<Step> = self.ahead().into_iter().take_while(|step| *step <= last).collect();
        let Some(first) = ahead.first() else { return };
        // What is behind us was proved already: the blame falls on where we are.
        let at = ahead.iter().rev().find(|step| **step <= blamed).unwrap_or(first);
        for step in ahead.iter().take_while(|step| *step < at) {
            self.ok(*step, None, "");
        }
        self.fail(*at, Some(took), problem);
    }

    /// The time for the whole is over: the step under way is to blame.
    pub fn late(&mut self, limit: Duration) {
        let Some(step) = self.ahead().first().copied() else { return };
        let code = match (&self.subject.spec.target, step) {
            (_, Step::Target | Step::Port | Step::Answer) => Code::TargetTimeout,
            (Target::Kube(_), Step::Auth) => Code::KubeLoginPlugin,
            (Target::Kube(_), _) => Code::KubeUnreachable,
            (Target::Ssh(_), _) => Code::SshUnreachable,
        };
        let problem = Problem::new(
            code,
            format!("`{}` did not end within `{}` s", step.as_str(), limit.as_secs()),
            "Check the network and the VPN, then ask again",
        );
        self.fail(step, Some(limit), problem);
    }

    /// What was found. Steps that were not walked are skipped because of the last failure before them.
    #[must_use]
    pub fn finish(mut self) -> Diagnosis {
        let failed = self.steps.iter().rfind(|walked| walked.outcome == Outcome::Failed);
        let why = match failed {
            Some(failed) => format!("because `{}` failed", failed.step.as_str()),
            None => "because the walk ended before".to_owned(),
        };
        let missed = self.ahead();
        self.open |= !missed.is_empty();
        for step in missed {
            self.skip(step, why.clone());
        }
        let spec = &self.subject.spec;
        let (technology, context) = place(&spec.target);
        let target = self.subject.context.is_none().then(|| spec.target_words());
        Diagnosis {
            name: self.subject.context.clone().unwrap_or_else(|| spec.name.clone()),
            technology,
            context,
            target,
            well: self.finding.is_none() && !self.open,
            steps: self.steps,
            finding: self.finding,
        }
    }

    fn note(&mut self, step: Step, outcome: Outcome, took: Option<Duration>, said: String) {
        let done = self.steps.iter().any(|walked| walked.step == step);
        if self.has(step) && !done {
            let took_ms = took.map(|took| (took.as_secs_f64() * 10_000.0).round() / 10.0);
            self.steps.push(Walked { step, outcome, took_ms, said });
        }
    }

    /// The steps of the plan that were neither walked nor passed over.
    fn ahead(&self) -> Vec<Step> {
        let last = self.steps.last().map(|walked| walked.step);
        self.plan.iter().copied().filter(|step| last.is_none_or(|last| *step > last)).collect()
    }
}

/// What carries a target, and through which context or host.
fn place(target: &Target) -> (Technology, String) {
    match target {
        Target::Kube(kube) => {
            (Technology::Kubectl, kube.context.clone().unwrap_or_else(|| "current".to_owned()))
        }
        Target::Ssh(ssh) => (Technology::Ssh, ssh.destination()),
    }
}

#[cfg(test)]
mod tests;
