//! Owns our own headless host in the bench: one life, and how it ended.

use crate::before::leavings;
use localport_core::receipt::Receipt;
use localport_tests::host::Sandbox;
use localport_tests::sshd::{Sshd, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// Budgets other than the usual ones.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) complete_current: Duration,
}

/// A host that serves.
pub(crate) struct Host {
    sandbox: Sandbox,
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) ports: Vec<u16>,
}

/// How one ended.
pub(crate) struct Ended {
    pub(crate) took: Duration,
    pub(crate) receipt: Receipt,
    /// Processes of it that were left.
    pub(crate) left: usize,
}

impl Host {
    /// Starts one with `count` forwards to `remote`, and waits until all serve.
    pub(crate) fn start(sshd: &Sshd, count: usize, remote: u16, plan: Option<Plan>) -> Self {
        let names: Vec<String> = (0..count).map(|index| format!("f{index}")).collect();
        let forwards: Vec<_> = names.iter().map(|name| (name.as_str(), remote)).collect();
        let sandbox = Sandbox::behind(sshd, &forwards);
        if let Some(Plan { complete_current }) = plan {
            let mut file = OpenOptions::new().append(true).open(sandbox.config()).unwrap();
            let seconds = complete_current.as_secs_f64();
            writeln!(file, "daemon: {{shutdown: {{phases: {{complete_current: {seconds}}}}}}}")
                .unwrap();
        }
        let mut command = sandbox.command();
        command.args(["run", "--json"]).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(line.contains("\"started\""), "{line}");
        let status = sandbox.until("all serve", |status| {
            let forwards = status["forwards"].as_array().unwrap();
            forwards.iter().all(|forward| forward["word"] == "serving")
        });
        Self { sandbox, child, output, ports: ports(&status) }
    }

    /// Ends it with TERM.
    pub(crate) fn end(mut self) -> Ended {
        let begun = Instant::now();
        signal(self.child.id(), Signal::TERM);
        self.child.wait().unwrap();
        let took = begun.elapsed();
        let left = leavings(self.sandbox.path()).len();
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let stopped: Value = serde_json::from_str(said.trim()).unwrap();
        let receipt = serde_json::from_value(stopped["stopped"].clone()).unwrap();
        Ended { took, receipt, left }
    }

    /// Ends it with TERM, and gives the time until its first stage was heard of.
    pub(crate) fn announced(mut self) -> Duration {
        let mut events = self.sandbox.follow("/v1/events?limit=1", "");
        // What was before comes first: from here on it is heard.
        assert!(events.next().is_some());
        let begun = Instant::now();
        signal(self.child.id(), Signal::TERM);
        let heard = events.by_ref().any(|message| message.json()["kind"] == "stage");
        let took = begun.elapsed();
        assert!(heard, "no stage was announced");
        self.child.wait().unwrap();
        took
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ports(status: &Value) -> Vec<u16> {
    let port = |forward: &Value| {
        forward["local"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
    };
    status["forwards"].as_array().unwrap().iter().map(port).collect()
}
