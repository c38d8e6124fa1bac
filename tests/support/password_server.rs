//! Owns an SSH server in this process that takes one password and nothing else; what
//! OpenSSH's own server could only do with a password of the machine's.
//!
//! It is also another server than OpenSSH's, which the protocol promises to be enough.

use crate::sshd::keygen;
use localport_core::config::{Secret, SshTarget};
use localport_engine::registry::{Registry, Tasks};
use russh::keys::load_secret_key;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, run_stream};
use russh::{Channel, Error};
use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// A running server; ends when it is dropped.
pub struct PasswordServer {
    dir: TempDir,
    port: u16,
    tasks: Tasks,
}

impl PasswordServer {
    /// Starts a server that lets `me` in with `password`.
    pub async fn start(password: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("password").tempdir().unwrap();
        let key = dir.path().join("host_key");
        keygen(&key, "");
        let config = Arc::new(Config {
            keys: vec![load_secret_key(&key, None).unwrap()],
            auth_rejection_time: Duration::ZERO,
            ..Config::default()
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tasks = Tasks::new("password server", &Registry::default());
        let clients = tasks.clone();
        tasks.spawn("accept", async move {
            while let Ok((client, _)) = listener.accept().await {
                let handler = Client { password, tasks: clients.clone() };
                let config = config.clone();
                clients.spawn("client", async move {
                    if let Ok(session) = run_stream(config, client, handler).await {
                        let _ = session.await;
                    }
                });
            }
        });
        let public = fs::read_to_string(dir.path().join("host_key.pub")).unwrap();
        let public: Vec<&str> = public.split_whitespace().take(2).collect();
        let known = format!("[127.0.0.1]:{port} {}\n", public.join(" "));
        fs::write(dir.path().join("known_hosts"), known).unwrap();
        let text = format!(
            "Host *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
             IdentityAgent none\n  IdentityFile none\n",
            dir.path().join("known_hosts").display()
        );
        fs::write(dir.path().join("ssh_config"), text).unwrap();
        Self { dir, port, tasks }
    }

    /// Arguments for `ssh` that keep the person's own files out of it.
    #[must_use]
    pub fn client_args(&self) -> Vec<OsString> {
        vec!["-F".into(), self.dir.path().join("ssh_config").into()]
    }

    /// A target behind the server.
    #[must_use]
    pub fn target(&self, password: &str, remote_port: u16) -> SshTarget {
        SshTarget {
            host: "127.0.0.1".into(),
            user: Some("me".into()),
            port: Some(self.port),
            key_file: None,
            password: Some(Secret::new(password.into())),
            remote_host: "127.0.0.1".into(),
            remote_port,
        }
    }
}

impl Drop for PasswordServer {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

struct Client {
    password: &'static str,
    tasks: Tasks,
}

impl Handler for Client {
    type Error = Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Error> {
        let right = user == "me" && password == self.password;
        Ok(if right { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let port = u16::try_from(port).unwrap();
        // A reply that is dropped is a refusal.
        let Ok(mut target) = TcpStream::connect((host, port)).await else { return Ok(()) };
        reply.accept().await;
        self.tasks.spawn("forward", async move {
            let mut channel = channel.into_stream();
            let _ = tokio::io::copy_bidirectional(&mut channel, &mut target).await;
        });
        Ok(())
    }
}
