//! G8: each fault on the way, planted in the API server's double or in OpenSSH's own
//! server, is found at its step and named with its remedy.
#![cfg(unix)]

#[path = "explain/cli.rs"]
mod cli;
#[path = "explain/history.rs"]
mod history;
#[path = "explain/kube.rs"]
mod kube;
#[path = "explain/pages.rs"]
mod pages;
#[path = "explain/ssh.rs"]
mod ssh;

use localport_core::config::{ForwardSpec, HealthCheck, HealthCheckKind, Target, TlsCheck};
use localport_core::diagnosis::{Diagnosis, Outcome, Step, Subject, lines};
use localport_core::problem::Code;
use localport_engine::adapter::kube::{LoginShell, Options as KubeOptions, install_tls_provider};
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::explain::Explainer;
use localport_engine::home::Home;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Nothing here takes this long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(40);

/// A home of its own, and what walks from it.
struct Ground {
    _home: TempDir,
    explainer: Explainer,
}

impl Ground {
    fn new(ssh: SshOptions, kubeconfig: PathBuf) -> Self {
        install_tls_provider();
        let home = tempfile::Builder::new().prefix("lp").tempdir().unwrap();
        let places = Home::under(home.path(), home.path().to_owned());
        let kube = KubeOptions {
            kubeconfig: Some(vec![kubeconfig]),
            login_shell: LoginShell::Never,
            ..KubeOptions::default()
        };
        let explainer = Explainer::alone(&places, ssh).unwrap().with_kube(kube);
        Self { _home: home, explainer }
    }

    async fn explain(&self, spec: ForwardSpec) -> Diagnosis {
        let subject = Subject { spec, context: None };
        let walk = self.explainer.explain(subject, None, None, false);
        tokio::time::timeout(DEADLINE, walk).await.expect("the walk has a limit of its own")
    }
}

fn forward(target: Target) -> ForwardSpec {
    ForwardSpec {
        name: "orders".to_owned(),
        enabled: true,
        tags: vec![],
        description: None,
        local_port: 15_080,
        bind: vec![],
        hold: Duration::from_secs(30),
        target,
        health_check: None,
        restart_policy: None,
    }
}

/// A check that asks for a page.
fn asks_for_a_page() -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Http {
            url: "http://localhost/healthz".to_owned(),
            method: "GET".to_owned(),
            expected_status: vec![200],
            expected_content: None,
            headers: Default::default(),
            tls: TlsCheck::default(),
        },
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        failure_threshold: 1,
        success_threshold: 1,
        cluster_aware: true,
    }
}

/// Asserts the step, the code and the words of the finding; that what lies before holds,
/// and that what lies behind is skipped because of it.
#[track_caller]
fn assert_found(diagnosis: &Diagnosis, step: Step, code: Code, words: &[&str]) {
    let text = lines(diagnosis).join("\n");
    let finding = diagnosis.finding.as_ref().unwrap_or_else(|| panic!("nothing failed:\n{text}"));
    assert_eq!((finding.step, finding.problem.code), (step, code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not said:\n{text}");
    }
    assert!(!finding.problem.hint.is_empty() && finding.command.is_some(), "{text}");
    assert!(!diagnosis.well);
    for walked in &diagnosis.steps {
        let because = format!("because `{}` failed", step.as_str());
        match walked.step.cmp(&step) {
            std::cmp::Ordering::Less => assert_ne!(walked.outcome, Outcome::Failed, "{text}"),
            std::cmp::Ordering::Equal => assert_eq!(walked.outcome, Outcome::Failed, "{text}"),
            std::cmp::Ordering::Greater => {
                assert_eq!((walked.outcome, &walked.said), (Outcome::Skipped, &because), "{text}");
            }
        }
    }
}

#[track_caller]
fn assert_well(diagnosis: &Diagnosis) {
    let text = lines(diagnosis).join("\n");
    assert!(diagnosis.well && diagnosis.finding.is_none(), "{text}");
    for walked in &diagnosis.steps {
        let expected = if walked.step == Step::Listener { Outcome::Skipped } else { Outcome::Ok };
        assert_eq!(walked.outcome, expected, "{text}");
    }
}
