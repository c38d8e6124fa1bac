//! Owns a real OpenSSH server on loopback: own keys, own configuration, own port.
//!
//! Emits its log as announced events; can be stopped, started again and frozen. Works as
//! root and as a plain user who logs in as himself.

use crate::ports::free_port;
use localport_core::config::SshTarget;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long any announced event of the server is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running or stopped server.
pub struct Sshd {
    dir: TempDir,
    port: u16,
    user: String,
    log: Arc<Log>,
    process: Option<Child>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Sshd {
    /// Starts a server that accepts its own user key.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with more lines in its sshd_config; these win.
    #[must_use]
    pub fn start_with(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sshd").tempdir().unwrap();
        keygen(&dir.path().join("host_key"), "");
        keygen(&dir.path().join("user_key"), "");
        fs::copy(dir.path().join("user_key.pub"), dir.path().join("authorized_keys")).unwrap();
        let port = free_port();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "{config}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile {}\nStrictModes no\nUsePAM no\nPrintMotd no\nMaxStartups 200\n\
             LogLevel VERBOSE\n",
            at("host_key"),
            at("authorized_keys"),
            at("pid"),
        );
        fs::write(dir.path().join("sshd_config"), text).unwrap();
        let mut sshd = Self { dir, port, user: user(), log: Arc::default(), process: None };
        sshd.write_client_config("");
        sshd.trust_host_key();
        sshd.run();
        sshd
    }

    /// Port it listens on, also while it is stopped.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Name to log in with.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A file of the server's own directory: `user_key`, `host_key`, `known_hosts`…
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Arguments for `ssh` that keep the person's own files out of it.
    #[must_use]
    pub fn client_args(&self) -> Vec<OsString> {
        vec!["-F".into(), self.path("ssh_config").into()]
    }

    /// Writes the ssh_config that [`Sshd::client_args`] names, with more lines in front.
    pub fn write_client_config(&self, more: &str) {
        let text = format!(
            "{more}\nHost *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
             IdentityAgent none\n",
            self.path("known_hosts").display()
        );
        fs::write(self.path("ssh_config"), text).unwrap();
    }

    /// A target behind the server, with its key.
    #[must_use]
    pub fn target(&self, remote_host: &str, remote_port: u16) -> SshTarget {
        SshTarget {
            host: "127.0.0.1".into(),
            user: Some(self.user.clone()),
            port: Some(self.port),
            key_file: Some(self.path("user_key")),
            password: None,
            remote_host: remote_host.into(),
            remote_port,
        }
    }

    /// Makes the client know the host key.
    pub fn trust_host_key(&self) {
        fs::write(self.path("known_hosts"), self.known_host_line()).unwrap();
    }

    /// Makes the client know no host key.
    pub fn forget_host_key(&self) {
        fs::write(self.path("known_hosts"), "").unwrap();
    }

    /// The server's line for a known_hosts file.
    #[must_use]
    pub fn known_host_line(&self) -> String {
        let key = fs::read_to_string(self.path("host_key.pub")).unwrap();
        let key: Vec<&str> = key.split_whitespace().take(2).collect();
        format!("[127.0.0.1]:{} {}\n", self.port, key.join(" "))
    }

    /// Fingerprint of the host key, as people compare it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let output =
            Command::new("ssh-keygen").arg("-lf").arg(self.path("host_key.pub")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// Gives the server a new host key, as a machine set up anew has; takes effect at
    /// the next start.
    pub fn replace_host_key(&self) {
        fs::remove_file(self.path("host_key")).unwrap();
        keygen(&self.path("host_key"), "");
    }

    /// Ends the server and every session.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let all = self.tree(process.id());
        // A stopped process cannot run its handlers, so nothing gentler than KILL.
        for pid in all {
            signal(pid, Signal::KILL);
        }
        process.wait().unwrap();
    }

    /// Starts a stopped server on the same port.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let _ = fs::create_dir_all("/run/sshd");
        let deadline = Instant::now() + DEADLINE;
        while !self.try_run() {
            assert!(Instant::now() < deadline, "port {} is taken: {:?}", self.port, self.log());
        }
    }

    /// Stops every process of the server where it stands: no answer, no end.
    pub fn freeze(&self) {
        let pids = self.pids();
        for pid in &pids {
            signal(*pid, Signal::STOP);
        }
        // The signal is sent before it is felt, and what runs meanwhile still answers.
        let end = Instant::now() + DEADLINE;
        for pid in pids {
            while !is_stopped(pid) {
                assert!(Instant::now() < end, "sshd's process {pid} does not stop");
                std::thread::yield_now();
            }
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        for pid in self.pids() {
            signal(pid, Signal::CONT);
        }
    }

    /// Kills every session, as a crash or an administrator would.
    pub fn kill_sessions(&self) {
        for pid in self.sessions() {
            signal(pid, Signal::KILL);
        }
    }

    /// Processes that serve a connection; one or two each, by the version.
    #[must_use]
    pub fn sessions(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        self.tree(process.id()).into_iter().filter(|pid| *pid != process.id()).collect()
    }

    /// How often the server let somebody in.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.log()
            .iter()
            .filter(|line| line.starts_with("Accepted ") && line.contains(" for "))
            .count()
    }

    /// What the server wrote.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    fn try_run(&mut self) -> bool {
        let seen = self.log().len();
        let mut process = Command::new(sshd_program())
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("OpenSSH's server is needed: apt install openssh-server");
        let stderr = process.stderr.take().unwrap();
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lines.lock().unwrap().push(line.trim_end().to_owned());
                log.more.notify_all();
            }
        });
        let word = self.log.wait(seen, &["Server listening on", "Cannot bind", "error", "fatal"]);
        if word.starts_with("Server listening on") {
            self.process = Some(process);
            return true;
        }
        let _ = process.kill();
        process.wait().unwrap();
        assert!(word.contains("Cannot bind") || word.contains("Bind to port"), "sshd: {word}");
        false
    }

    fn pids(&self) -> Vec<u32> {
        self.process.as_ref().map(|process| self.tree(process.id())).unwrap_or_default()
    }

    fn tree(&self, root: u32) -> Vec<u32> {
        let mut found = vec![root];
        let mut next = 0;
        let all = parents();
        while let Some(parent) = found.get(next).copied() {
            found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        found
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Log {
    fn wait(&self, from: usize, starts: &[&str]) -> String {
        let lines = self.lines.lock().unwrap();
        let found = |lines: &Vec<String>| {
            lines[from..].iter().find(|line| starts.iter().any(|it| line.starts_with(it))).cloned()
        };
        let (lines, _) =
            self.more.wait_timeout_while(lines, DEADLINE, |lines| found(lines).is_none()).unwrap();
        found(&lines).unwrap_or_else(|| panic!("sshd said none of {starts:?}: {lines:?}"))
    }
}

/// Makes an Ed25519 key pair.
pub fn keygen(path: &Path, passphrase: &str) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .expect("OpenSSH's client is needed: apt install openssh-client");
    assert!(status.success());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Every process and its parent.
#[must_use]
pub fn parents() -> Vec<(u32, u32)> {
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.1)))
        .collect()
}

/// Whether it stands still, or is there no more.
fn is_stopped(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == "T" || state == "Z")
}

/// A process' state and its parent, from fields 3 and 4 of proc_pid_stat(5).
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Sends a signal to a process of the test's own.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may just have ended.
    let _ = kill_process(pid, signal);
}

fn sshd_program() -> PathBuf {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    // sshd insists on being called by its full path.
    places.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or_else(|| "sshd".into())
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
