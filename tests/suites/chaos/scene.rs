//! Owns one life of a host in the chaos: its far side, its home, its open transfers.

use crate::far::Far;
use crate::transfer::Transfer;
use localport_core::shutdown::Stage;
use localport_tests::host::{Running, Sandbox, Stream};
use localport_tests::sshd::{parents, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Budgets of the stages in the chaos, in milliseconds.
pub(crate) const BUDGETS: [u64; 4] = [1_000, 800, 4_000, 2_000];

/// The same where cleaning up is to be left to the last stage.
pub(crate) const HASTY: [u64; 4] = [1_000, 800, 300, 3_000];

/// A host that serves.
pub(crate) struct Scene {
    pub(crate) budgets: [u64; 4],
    pub(crate) sandbox: Sandbox,
    pub(crate) host: Running,
    pub(crate) ports: Vec<u16>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) asked: Option<Instant>,
}

impl Scene {
    /// Starts a host with `count` forwards to `far`, and waits until all serve.
    pub(crate) fn start(far: &Far, count: usize, budgets: [u64; 4]) -> Self {
        Self::run(configured(far, count, budgets), budgets)
    }

    /// The same in a home that is ready.
    pub(crate) fn run(sandbox: Sandbox, budgets: [u64; 4]) -> Self {
        let command = sandbox.command();
        Self::run_as(sandbox, budgets, command)
    }

    /// The same with the host that `command` starts.
    pub(crate) fn run_as(sandbox: Sandbox, budgets: [u64; 4], mut command: Command) -> Self {
        let mut host = Running::new(command.args(["run", "--json"]).process_group(0));
        let line = host.line();
        assert!(line.contains("\"started\""), "{line}");
        let status = sandbox.until("all serve", |status| {
            let forwards = status["forwards"].as_array().unwrap();
            !forwards.is_empty() && forwards.iter().all(|forward| forward["word"] == "serving")
        });
        let ports = ports(&status);
        Self { budgets, sandbox, host, ports, transfers: vec![], asked: None }
    }

    /// Begins a transfer of `size` bytes in `pace` through the forward of this index.
    pub(crate) fn transfer(&mut self, forward: usize, size: u32, pace: Duration) {
        let transfer = Transfer::begin(forward, self.ports[forward], size, pace);
        self.transfers.push(transfer);
    }

    /// The host's own children.
    pub(crate) fn children(&self) -> Vec<u32> {
        let own = |(_, parent): &(u32, u32)| *parent == self.host.pid();
        parents().into_iter().filter(own).map(|(pid, _)| pid).collect()
    }

    /// Asks it to end, as the service manager does.
    pub(crate) fn ask(&mut self) {
        self.host.signal(Signal::TERM);
        self.asked = Some(Instant::now());
    }

    /// Asks it to end and does `chaos` as `stage` begins: with the request for the first,
    /// at its announcement for the others. The last two take no time by themselves: the
    /// `ssh` processes are stopped where they stand, so that there is something to wait for.
    pub(crate) fn end_with(&mut self, stage: Stage, chaos: impl FnOnce(&Self)) {
        let mut events = self.sandbox.follow("/v1/events", "");
        if stage == Stage::StopNewWork {
            chaos(self);
            return self.ask();
        }
        let children = self.children();
        self.ask();
        if stage > Stage::CompleteCurrent {
            announced(&mut events, Stage::CompleteCurrent);
            children.iter().for_each(|pid| signal(*pid, Signal::STOP));
        }
        announced(&mut events, stage);
        chaos(self);
    }
}

/// A home with `count` forwards to `far`, and these budgets.
pub(crate) fn configured(far: &Far, count: usize, budgets: [u64; 4]) -> Sandbox {
    let sandbox = far.sandbox(count);
    let [stop, complete, cancel, force] = budgets.map(|budget| budget as f64 / 1_000.0);
    let mut file = OpenOptions::new().append(true).open(sandbox.config()).unwrap();
    let line = format!(
        "daemon: {{shutdown: {{phases: {{stop_new_work: {stop}, complete_current: {complete}, \
         cancel_tasks: {cancel}, force_cleanup: {force}}}}}}}"
    );
    writeln!(file, "{line}").unwrap();
    sandbox
}

/// Waits until the host says that `stage` has begun.
pub(crate) fn announced(events: &mut Stream, stage: Stage) {
    let is_stage = |event: Value| event["kind"] == "stage" && event["stage"] == stage.as_str();
    let found = events.by_ref().any(|message| is_stage(message.json()));
    assert!(found, "{stage:?} was never announced");
}

/// The local ports of all forwards.
pub(crate) fn ports(status: &Value) -> Vec<u16> {
    let forwards = status["forwards"].as_array().unwrap();
    let port = |forward: &Value| {
        forward["local"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    };
    forwards.iter().map(port).collect()
}

/// Processes that carry a child's token and the home of `sandbox`.
pub(crate) fn ours(sandbox: &Sandbox) -> Vec<u32> {
    let home = format!("LOCALPORT_HOME={}", sandbox.path().join("lp").display());
    let is_ours = |pid: &u32| {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let has = |wanted: &str| {
            environment.split(|byte| *byte == 0).any(|one| one.starts_with(wanted.as_bytes()))
        };
        has("LOCALPORT_CHILD=") && has(&home)
    };
    parents().into_iter().map(|(pid, _)| pid).filter(is_ours).collect()
}
