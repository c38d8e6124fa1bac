//! Owns real database servers on loopback, each with a directory and a port of its own:
//! PostgreSQL, Redis and MariaDB as Debian packs them. They run as a plain user, for two
//! of them refuse to run as root.

use crate::ports::free_port;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// The password of every server here.
pub const PASSWORD: &str = "correct-horse";
/// How long a server may take to begin.
const DEADLINE: Duration = Duration::from_secs(60);
/// Debian's `nobody`.
const NOBODY: u32 = 65534;

/// A running server; ends when it is dropped.
pub struct Database {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Database {
    /// PostgreSQL with the role `postgres`.
    #[must_use]
    pub fn postgres() -> Self {
        let (dir, port) = (directory(), free_port());
        let programs = newest("/usr/lib/postgresql");
        let data = dir.path().join("data");
        fs::write(dir.path().join("password"), PASSWORD).unwrap();
        own(&dir.path().join("password"));
        let mut init = plain(&programs.join("bin/initdb"), dir.path());
        init.args([
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        ]);
        init.arg("--pwfile").arg(dir.path().join("password")).arg("-D").arg(&data);
        done(init);
        let mut server = plain(&programs.join("bin/postgres"), dir.path());
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "fsync=off"]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        Self::run(server, "ready to accept connections", dir, port)
    }

    /// Redis that asks for the password.
    #[must_use]
    pub fn redis() -> Self {
        let (dir, port) = (directory(), free_port());
        let mut server = plain(Path::new("redis-server"), dir.path());
        server.args(["--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD]);
        server.args(["--port", &port.to_string(), "--dir"]).arg(dir.path());
        Self::run(server, "eady to accept connections", dir, port)
    }

    /// MariaDB with the user `probe`.
    #[must_use]
    pub fn mariadb() -> Self {
        let (dir, port) = (directory(), free_port());
        let data = dir.path().join("data");
        let mut init = plain(Path::new("mariadb-install-db"), dir.path());
        init.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        init.arg("--skip-test-db").arg(format!("--datadir={}", data.display()));
        done(init);
        let user = format!("CREATE USER probe@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n");
        fs::write(dir.path().join("init.sql"), user).unwrap();
        own(&dir.path().join("init.sql"));
        let mut server = plain(Path::new("/usr/sbin/mariadbd"), dir.path());
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.arg(format!("--port={port}")).arg(format!("--datadir={}", data.display()));
        server.arg(format!("--socket={}", dir.path().join("socket").display()));
        server.arg(format!("--init-file={}", dir.path().join("init.sql").display()));
        Self::run(server, "ready for connections", dir, port)
    }

    /// Port it listens on, also after its end.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it: from then on the port refuses.
    pub fn stop(&mut self) {
        // It may have ended by itself, which a test would have noticed.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    fn run(mut command: Command, ready: &'static str, dir: TempDir, port: u16) -> Self {
        let name = format!("{:?}", command.get_program());
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = spawned.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (said, heard) = mpsc::channel();
        listen(process.stdout.take().unwrap(), said.clone());
        listen(process.stderr.take().unwrap(), said);
        let mut lines = vec![];
        while let Ok(line) = heard.recv_timeout(DEADLINE) {
            let is_ready = line.contains(ready);
            lines.push(line);
            if is_ready {
                // Its words go on being read, so that it never waits for a reader.
                std::thread::spawn(move || heard.iter().for_each(drop));
                return Self { process, port, _dir: dir };
            }
        }
        let _ = process.kill();
        let _ = process.wait();
        panic!("{name} never said `{ready}`: {lines:#?}")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

/// A directory of the plain user's own.
fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("db").tempdir().unwrap();
    own(dir.path());
    dir
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn own(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// A command that runs as a plain user.
fn plain(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).env("LC_ALL", "C").env("HOME", dir).stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn done(mut command: Command) {
    let name = format!("{:?}", command.get_program());
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}");
}

/// The newest version below `place`.
fn newest(place: &str) -> PathBuf {
    let versions = fs::read_dir(place).unwrap_or_else(|error| panic!("{place}: {error}"));
    let versions = versions.map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions.max_by_key(number).unwrap_or_else(|| panic!("nothing in {place}"))
}
