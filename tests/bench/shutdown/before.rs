//! Owns the older LocalPort in the bench, as PyPI gives it: one daemon, ended with TERM.
//!
//! It keeps its PID in one fixed file, so only one can run on a machine.

use localport_tests::ports::free_ports;
use localport_tests::sshd::{Sshd, parents, signal};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where every daemon of it writes its PID.
const PID: &str = "/tmp/localport.pid";
/// What it logs when its start is over.
const STARTED: &str = "LocalPort daemon started successfully";
/// It announces nothing, so its ports and its process are looked at again and again.
const LOOK: Duration = Duration::from_millis(1);
/// A hundred forwards take it 7 s on a calm machine.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Before {
    program: OsString,
}

/// How a daemon ended.
pub(crate) struct End {
    pub(crate) took: Duration,
    /// `ssh` processes that were left.
    pub(crate) left: usize,
}

impl Before {
    pub(crate) fn new(program: OsString) -> Self {
        assert!(!Path::new(PID).exists(), "another LocalPort runs on this machine: `{PID}`");
        Self { program }
    }

    /// Starts a daemon with `count` forwards, ends it, and clears what it leaves.
    pub(crate) fn end(&self, sshd: &Sshd, count: usize, remote: u16) -> End {
        let home = tempfile::tempdir().unwrap();
        let ports = free_ports(count);
        configure(&home, sshd, &ports, remote);
        let status = Command::new(&self.program)
            .args(["daemon", "start"])
            .current_dir(home.path())
            .env("HOME", home.path())
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "`localport daemon start`: {status}");
        let listens = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        until("its ports", || ports.iter().all(listens));
        // An end in the middle of its start waits for that: it would not be fair.
        let log = home.path().join(".local/share/localport/logs/daemon.log");
        until("its own word that it runs", || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains(STARTED))
        });
        let pid: u32 = fs::read_to_string(PID).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        signal(pid, Signal::TERM);
        until("its end", || has_ended(pid));
        let took = begun.elapsed();
        let left = leavings(home.path());
        for pid in &left {
            signal(*pid, Signal::KILL);
        }
        let _ = fs::remove_file(PID);
        End { took, left: left.len() }
    }
}

fn configure(home: &TempDir, sshd: &Sshd, ports: &[u16], remote: u16) {
    let mut text = String::from("version: \"1.0\"\nservices:\n");
    for (index, port) in ports.iter().enumerate() {
        text.push_str(&format!(
            "  - {{name: f{index}, technology: ssh, local_port: {port}, remote_port: {remote}, \
             connection: {{host: 127.0.0.1, port: {}, user: {}, key_file: '{}'}}}}\n",
            sshd.port(),
            sshd.user(),
            sshd.path("user_key").display(),
        ));
    }
    fs::write(home.path().join(".localport.yaml"), text).unwrap();
}

/// Whether it is gone. Whoever inherits it may be slow to bury it, which is not its time.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Processes that run in `home`.
pub(crate) fn leavings(home: &Path) -> Vec<u32> {
    let value = format!("HOME={}", home.display());
    let is_left = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one.ends_with(value.as_bytes()))
    };
    parents().into_iter().map(|(pid, _)| pid).filter(is_left).collect()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < end, "LocalPort 0.3.7.3: {what} did not come in {LIMIT:?}");
        thread::sleep(LOOK);
    }
}
