//! Owns the demo's files: keys, ssh_config, configuration and home, in a private
//! directory that goes with the value.

use localport_engine::home::Home;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// Name of the demo's one forward.
pub(crate) const FORWARD: &str = "web";
/// Name to log in with; the server knows only the key.
const USER: &str = "demo";
/// Tries for a directory name that is free.
const NAMES: u32 = 16;

/// The demo's directory and keys.
pub(crate) struct Ground {
    dir: PathBuf,
    host_key: PrivateKey,
    user_key: PrivateKey,
}

impl Ground {
    /// A fresh directory with fresh keys.
    pub(crate) fn new() -> io::Result<Self> {
        let fresh = || PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519);
        let host_key = fresh().map_err(io::Error::other)?;
        let user_key = fresh().map_err(io::Error::other)?;
        Ok(Self { dir: make_private()?, host_key, user_key })
    }

    /// The server's key.
    pub(crate) fn host_key(&self) -> PrivateKey {
        self.host_key.clone()
    }

    /// The one key that may log in.
    pub(crate) fn user_key(&self) -> PublicKey {
        self.user_key.public_key().clone()
    }

    /// A home of the demo's own.
    pub(crate) fn home(&self) -> Home {
        Home::under(&self.home_root(), self.dir.clone())
    }

    /// What `LOCALPORT_HOME` has to be for that home.
    pub(crate) fn home_root(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("localport.yaml")
    }

    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh_config")
    }

    /// Writes everything down, for a server on `ssh_port` and a service on `web_port`.
    pub(crate) fn write(&mut self, ssh_port: u16, web_port: u16) -> io::Result<()> {
        let key = self.dir.join("user_key");
        let pem = self.user_key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        write_private(&key, pem.as_bytes())?;
        let host_key = self.host_key.public_key().to_openssh().map_err(io::Error::other)?;
        let known_hosts = self.dir.join("known_hosts");
        fs::write(&known_hosts, format!("[127.0.0.1]:{ssh_port} {host_key}\n"))?;
        // The person's own ssh_config, agent and known hosts stay out of it.
        let ssh_config = format!(
            "Host *\n  UserKnownHostsFile \"{}\"\n  GlobalKnownHostsFile none\n  \
             IdentitiesOnly yes\n  IdentityAgent none\n",
            known_hosts.display()
        );
        fs::write(self.ssh_config(), ssh_config)?;
        fs::write(self.config(), config(ssh_port, web_port, free_port()?, &key))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What cannot be removed is in the system's directory for such things.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn config(ssh_port: u16, web_port: u16, local_port: u16, key: &Path) -> String {
    // JSON is YAML, and quotes a path right whatever it holds.
    let key = serde_json::Value::from(key.display().to_string());
    format!(
        "version: \"1.0\"\nservices:\n  - name: {FORWARD}\n    technology: ssh\n    \
         local_port: {local_port}\n    remote_port: {web_port}\n    connection:\n      \
         host: 127.0.0.1\n      port: {ssh_port}\n      user: {USER}\n      key_file: {key}\n      \
         remote_host: 127.0.0.1\n"
    )
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A new directory that nobody else can enter; its name is short, because sockets
/// will lie in it.
fn make_private() -> io::Result<PathBuf> {
    let mut last = io::Error::other("no name tried");
    for _ in 0..NAMES {
        let dir = std::env::temp_dir().join(format!("localport-{:08x}", rand::random::<u32>()));
        match make(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(unix)]
fn make(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(dir)
}

/// The user's directory for temporary files is private already.
#[cfg(not(unix))]
fn make(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(path)?, content)
}
