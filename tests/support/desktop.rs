//! Owns a desktop without a screen: a display and a session bus of their own, a home
//! of its own, and the real tray app on them.
//!
//! Nothing here depends on the session that the tests run in, and nothing outlives it.

pub mod driver;
pub mod notices;
pub mod tray;
pub mod windows;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any start on a machine that is busy with other tests.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test: `LOCALPORT_DESKTOP_BIN`, else beside the tests' own program.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program() -> PathBuf {
    let named = std::env::var_os("LOCALPORT_DESKTOP_BIN").map(PathBuf::from);
    let program = named.unwrap_or_else(|| {
        let tests = std::env::current_exe().unwrap();
        tests.parent().unwrap().parent().unwrap().join("localport-desktop")
    });
    assert!(program.exists(), "build it first: cargo build -p localport-desktop");
    program
}

/// A display and a session bus.
pub struct Screen {
    display: String,
    bus: String,
    dir: TempDir,
    // Ended in this order.
    _bus: Guard,
    display_guard: Guard,
}

impl Screen {
    /// An empty desktop: nobody shows a tray.
    ///
    /// # Panics
    /// When Xvfb or dbus-daemon is not installed or does not start.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lpd").tempdir().unwrap();
        let mut xvfb = Command::new("Xvfb");
        xvfb.args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]);
        let (display_guard, number) = announced(&mut xvfb);
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--nofork", "--print-address=1"]);
        // What the bus starts by itself belongs to this desktop too.
        daemon.env("XDG_RUNTIME_DIR", dir.path());
        let (bus_guard, bus) = announced(&mut daemon);
        Self { display: format!(":{number}"), bus, dir, _bus: bus_guard, display_guard }
    }

    /// Kills the display, as a crash of the X server does.
    pub fn lose_display(&mut self) {
        end_group(&mut self.display_guard.0);
    }

    /// Name of the display.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Address of the session bus.
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// The home of everything that runs on this desktop.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the configuration and gives its path.
    #[must_use]
    pub fn configure(&self, text: &str) -> PathBuf {
        let path = self.home().join("localport.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    /// `program` on this desktop, with nothing of the person's own in its environment.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("DISPLAY", &self.display)
            .env("GDK_BACKEND", "x11")
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.home())
            .env("XDG_CONFIG_HOME", self.home().join("config"))
            .env("XDG_DATA_HOME", self.home().join("data"))
            .env("XDG_CACHE_HOME", self.home().join("cache"))
            .env("LOCALPORT_HOME", self.home().join("lp"))
            .env("LANG", "C.UTF-8")
            // Software rendering, and no accessibility bus: neither is there in a test.
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            .env("WEBKIT_DISABLE_DMABUF_RENDERER", "1")
            .env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1")
            .env("NO_AT_BRIDGE", "1")
            .current_dir(self.home())
            .process_group(0);
        command
    }

    /// The tray app with `arguments`.
    #[must_use]
    pub fn app(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&program());
        command.args(arguments);
        command
    }

    /// Starts the tray app with `arguments`; what it says goes to a file.
    #[must_use]
    pub fn start(&self, command: &mut Command) -> App {
        let log = self.home().join("app.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        App { child, log }
    }

    /// Asks the control API; none as long as nobody answers.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<serde_json::Value> {
        let socket = self.home().join("lp/run/control.sock");
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localport\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// The running tray app.
pub struct App {
    child: Child,
    log: PathBuf,
}

impl App {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in `budget`.
    pub fn ended(&mut self, budget: Duration) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(budget.as_secs()).unwrap(),
            tv_nsec: 0,
        };
        let ready = rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
        assert!(ready == 1, "still running after {budget:?}; it said:\n{}", self.said());
        self.child.wait().unwrap()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// What it said so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the app said:\n{}", self.said());
        }
        end_group(&mut self.child);
    }
}

/// Processes of the group `group` that are still there, with their names.
#[must_use]
pub fn group_members(group: u32) -> Vec<String> {
    let mut members = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name) state ppid pgrp …; the name may hold anything.
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let mut fields = tail.split_whitespace();
        let state = fields.next();
        if fields.nth(1) == Some(&group.to_string()) && state != Some("Z") {
            members.push(head.to_owned());
        }
    }
    members
}

/// Ends a process and its group when it is dropped.
pub struct Guard(Child);

impl Guard {
    /// Guards `child`, which leads a group of its own.
    #[must_use]
    pub fn new(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        end_group(&mut self.0);
    }
}

fn end_group(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An error means that it has ended.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = child.wait();
}

/// Starts a program that says on its first line how it can be reached.
fn announced(command: &mut Command) -> (Guard, String) {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
    let output = child.stdout.take().unwrap();
    let guard = Guard(child);
    let (say, hear) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let mut output = BufReader::new(output);
        // Kept open: its writer must not meet a closed pipe.
        if output.read_line(&mut line).is_ok() && say.send(line).is_ok() {
            let _ = std::io::copy(&mut output, &mut std::io::sink());
        }
    });
    match hear.recv_timeout(DEADLINE) {
        Ok(line) if !line.trim().is_empty() => (guard, line.trim().to_owned()),
        Ok(_) | Err(RecvTimeoutError::Disconnected) => panic!("{name} ended at its start"),
        Err(RecvTimeoutError::Timeout) => panic!("{name} did not start"),
    }
}

/// Asks `probe` until it gives something: for what announces nothing.
///
/// # Panics
/// When it gives nothing before the deadline.
pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
