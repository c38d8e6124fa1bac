//! Owns what macOS and the BSDs can say about processes, through `ps`.

pub(super) use super::unix::Group;

use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command as Tool, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Own session; there is no parent-death signal here, so a killed engine's children are
/// ended by the next start's sweep.
pub(super) fn prepare(command: &mut Command) {
    super::unix::own_session(command, || Ok(()));
}

/// When process `pid` started, in the words of `ps`.
pub(super) fn start_time(pid: u32) -> Option<String> {
    ps(&["-o", "lstart=", "-p", &pid.to_string()])
}

/// A process known by number and, before each signal, again by its token.
pub(super) struct Held {
    pub(super) pid: u32,
    tokens: Vec<String>,
}

/// Those of the `known` processes that carry one of `tokens` in their environment.
pub(super) fn carrying(tokens: &[&str], known: &[u32]) -> Vec<Held> {
    let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
    known.iter().map(|pid| Held { pid: *pid, tokens: tokens.clone() }).filter(Held::is_it).collect()
}

impl Held {
    pub(super) fn ask(&self) {
        self.signal(Signal::TERM);
    }

    pub(super) fn force(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for its end. It is no child of this process, so the kernel tells nothing.
    pub(super) async fn gone(&self) {
        while self.is_it() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn is_it(&self) -> bool {
        ps(&["-E", "-ww", "-o", "command=", "-p", &self.pid.to_string()]).is_some_and(|shown| {
            self.tokens
                .iter()
                .any(|token| shown.contains(&format!("{}={token}", super::TOKEN_VARIABLE)))
        })
    }

    fn signal(&self, signal: Signal) {
        if self.is_it()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal);
        }
    }
}

fn ps(args: &[&str]) -> Option<String> {
    let output = Tool::new("/bin/ps").args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
