//! Owns the real `localport` binary under test: its home, its configuration, its
//! processes, and raw HTTP to its control socket.

use crate::ports::free_ports;
use crate::sshd::Sshd;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than anything here takes on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A home of its own for the binary, gone with the value.
pub struct Sandbox {
    dir: TempDir,
    ssh_config: Option<PathBuf>,
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty home.
    #[must_use]
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("lp").tempdir().unwrap(), ssh_config: None }
    }

    /// A home with `text` as its configuration, found by the search order.
    #[must_use]
    pub fn with_config(text: &str) -> Self {
        let sandbox = Self::new();
        fs::write(sandbox.config(), text).unwrap();
        sandbox
    }

    /// A home with one forward for each name, through `sshd` to a port of this machine.
    #[must_use]
    pub fn behind(sshd: &Sshd, forwards: &[(&str, u16)]) -> Self {
        let mut text = String::from("version: \"1.0\"\nservices:\n");
        let ports = free_ports(forwards.len());
        for ((name, remote), local) in forwards.iter().zip(ports) {
            text.push_str(&format!(
                "  - {{name: {name}, technology: ssh, local_port: {local}, \
                 remote_port: {remote}, connection: {{host: 127.0.0.1, port: {}, user: {}, \
                 key_file: '{}', remote_host: 127.0.0.1}}}}\n",
                sshd.port(),
                sshd.user(),
                sshd.path("user_key").display(),
            ));
        }
        let mut sandbox = Self::with_config(&text);
        sandbox.ssh_config = Some(sshd.path("ssh_config"));
        sandbox
    }

    /// The directory of everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join("localport.yaml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path().join("lp/run/control.sock")
    }

    /// The binary in this home, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command_of(&binary())
    }

    /// Another program in this home, without arguments.
    #[must_use]
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env("LOCALPORT_HOME", self.path().join("lp"))
            .env("HOME", self.path())
            .env_remove("LOCALPORT_LOG")
            .env_remove("NO_COLOR")
            .env_remove("LOCALPORT_CONFIG_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(file) = &self.ssh_config {
            command.env("LOCALPORT_SSH_CONFIG", file);
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Said {
        let output = self.command().args(arguments).output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts the binary and leaves it running.
    pub fn spawn<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::new(self.command().args(arguments))
    }

    /// Starts the binary with what `prepare` changes, and leaves it running.
    pub fn spawn_with<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        prepare: impl FnOnce(&mut Command),
    ) -> Running {
        let mut command = self.command();
        prepare(command.args(arguments));
        Running::new(&mut command)
    }

    /// Starts a headless host and waits until it serves.
    pub fn host(&self) -> Running {
        self.host_and_found().0
    }

    /// The same, with what it says it found of the host before.
    pub fn host_and_found(&self) -> (Running, Option<String>) {
        let mut host = Running::new(self.command().args(["run", "--json"]).process_group(0));
        let line = host.line();
        assert!(line.contains("\"started\""), "{line}");
        let started: Value = serde_json::from_str(&line).unwrap();
        (host, started["found"].as_str().map(str::to_owned))
    }

    /// One request over the control socket; status, headers and body.
    pub fn http(&self, head: &str, body: &str) -> Http {
        self.try_http(head, body).unwrap()
    }

    /// As [`Sandbox::http`], where the host may be gone before it answers.
    pub fn try_http(&self, head: &str, body: &str) -> io::Result<Http> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: localport\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(Http::parse(&text))
    }

    /// Follows `path` as an event stream, with more request headers if any.
    pub fn follow(&self, path: &str, headers: &str) -> Stream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localport\r\naccept: text/event-stream\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        Stream { lines: BufReader::new(stream) }
    }

    /// Waits until `met` holds of the status, as the host itself announces it.
    pub fn until(&self, what: &str, met: impl Fn(&Value) -> bool) -> Value {
        let mut stream = self.follow("/v1/status", "");
        let end = Instant::now() + DEADLINE;
        let mut last = Value::Null;
        for message in stream.by_ref() {
            last = serde_json::from_str(&message.data).unwrap();
            if met(&last) {
                return last;
            }
            assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}; last: {last:#}");
        }
        panic!("the host ended before: {what}; last: {last:#}");
    }

    /// The same for a host that may be dead or die meanwhile: none then.
    pub fn until_or_dead(&self, what: &str, met: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request =
            "GET /v1/status HTTP/1.1\r\nhost: localport\r\naccept: text/event-stream\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let end = Instant::now() + DEADLINE;
        let mut last = None;
        for line in BufReader::new(stream).lines() {
            // A host that dies may reset the connection.
            let line = line.ok().filter(|_| Instant::now() < end);
            let Some(line) = line else { break };
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let status: Value = serde_json::from_str(data).ok()?;
            if met(&status) {
                return Some(status);
            }
            last = Some(status);
        }
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}; last: {last:#?}");
        None
    }
}

/// An answer.
#[derive(Debug)]
pub struct Http {
    /// Status code.
    pub status: u16,
    /// The lines of the head, in lower case.
    pub head: String,
    /// The body, its chunks joined.
    pub body: String,
}

impl Http {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let chunked = head.contains("transfer-encoding: chunked");
        let body = if chunked { joined(body) } else { body.to_owned() };
        Self { status: status.unwrap_or_else(|| panic!("no status in {text:?}")), head, body }
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        body.push_str(&rest[..size]);
        chunks = rest[size..].trim_start_matches("\r\n");
    }
    body
}

/// An event stream that is being read.
pub struct Stream {
    lines: BufReader<UnixStream>,
}

/// One message of it.
#[derive(Debug, Default)]
pub struct Message {
    /// `id:`, when there is one.
    pub id: Option<u64>,
    /// `event:`, empty when there is none.
    pub name: String,
    /// `data:`.
    pub data: String,
}

impl Iterator for Stream {
    type Item = Message;

    /// The next message; none when the host closed the stream.
    fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).expect("a line within the deadline") == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(id) = line.strip_prefix("id: ") {
                message.id = id.parse().ok();
            } else if let Some(name) = line.strip_prefix("event: ") {
                message.name = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                message.data = data.to_owned();
            } else if line.is_empty() && !message.data.is_empty() {
                return Some(message);
            }
        }
    }
}

impl Message {
    /// The content as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A process of the binary. It is killed when the value goes.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Running {
    /// Starts `command`, which has its output piped.
    pub fn new(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = reader(child.stdout.take().unwrap());
        let complaints = reader(child.stderr.take().unwrap());
        Self { child, lines, complaints }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its next line on standard output.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("it ended without a line; it said: {}", self.complaints())
            }
        }
    }

    /// Its next line on standard output; none when it ended without one.
    pub fn line_or_end(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => panic!("no line within {DEADLINE:?}"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Its first line from now on that contains `text`.
    pub fn line_with(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
            assert!(Instant::now() < end, "no line with {text:?} within {DEADLINE:?}");
        }
    }

    /// Its first line on standard error from now on that contains `text`.
    pub fn complaint_with(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.complaints.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no complaint with {text:?}: {error}"),
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end and collects what it said since.
    pub fn end(mut self) -> Said {
        let status = self.wait();
        let out = self.lines.iter().collect::<Vec<_>>().join("\n");
        let err = self.complaints();
        if let Some(signal) = status.signal() {
            return Said { code: None, out, err: format!("{err}\nended by signal {signal}") };
        }
        Said { code: status.code(), out, err }
    }

    fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        // The standard library has no wait with a deadline; the process itself is the event.
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("it did not end within {DEADLINE:?}; it said: {}", self.complaints());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn complaints(&self) -> String {
        self.complaints.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads lines in a thread, so that the process never waits for the test.
fn reader(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The binary: `LOCALPORT_BIN`, else the one built beside this test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LOCALPORT_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let beside = test.parent().and_then(Path::parent).unwrap().join("localport");
    assert!(beside.exists(), "build it first: cargo build -p localport ({})", beside.display());
    beside
}

/// A configuration of SSH forwards to a host that refuses: they listen and keep trying.
#[must_use]
pub fn unreachable(names: &[&str]) -> String {
    let mut text = String::from("version: \"1.0\"\nservices:\n");
    let ports = free_ports(names.len() + 1);
    for (name, port) in names.iter().zip(&ports[1..]) {
        text.push_str(&format!(
            "  - {{name: {name}, technology: ssh, local_port: {port}, remote_port: 80, \
             tags: [{name}-tag], connection: {{host: 127.0.0.1, port: {}}}}}\n",
            ports[0]
        ));
    }
    text
}
