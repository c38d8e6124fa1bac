//! A private, real message bus, and a service on it that a test drives.

use futures_util::StreamExt;
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath};

pub const DEADLINE: Duration = Duration::from_secs(10);

/// A bus of its own, gone with the test.
pub struct Bus {
    pub address: String,
    daemon: Child,
    _dir: TempDir,
}

impl Bus {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .arg(format!("--address=unix:path={}/bus", dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon (package dbus) is installed");
        let said = tokio::process::ChildStdout::from_std(daemon.stdout.take().unwrap()).unwrap();
        let mut address = String::new();
        let read = async { BufReader::new(said).read_line(&mut address).await };
        timeout(DEADLINE, read).await.expect("the bus starts").unwrap();
        Self { address: address.trim().to_owned(), daemon, _dir: dir }
    }

    pub async fn connect(&self) -> Connection {
        zbus::connection::Builder::address(self.address.as_str()).build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A call that the double got.
#[derive(Debug)]
pub struct Call {
    pub member: String,
    pub message: Message,
}

/// A service: it answers what a test needs, and tells the test of each call.
pub struct Double {
    pub bus: Connection,
    pub calls: mpsc::Receiver<Call>,
    serving: JoinHandle<()>,
}

impl Double {
    /// Takes `name` on the bus and answers calls with what `answer` says.
    #[allow(clippy::disallowed_methods)] // Ends with the double.
    pub async fn start<F>(bus: &Bus, name: &'static str, answer: F) -> Self
    where
        F: Fn(&str) -> Answer + Send + 'static,
    {
        let bus = bus.connect().await;
        let mut messages = MessageStream::from(&bus);
        bus.request_name(name).await.unwrap();
        let (tell, calls) = mpsc::channel(64);
        let served = bus.clone();
        let serving = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                let header = message.header();
                if header.message_type() != Type::MethodCall {
                    continue;
                }
                let Some(member) = header.member().map(ToString::to_string) else { continue };
                answer(&member).send(&served, &message).await;
                let _ = tell.send(Call { member, message: message.clone() }).await;
            }
        });
        Self { bus, calls, serving }
    }

    pub async fn called(&mut self, member: &str) -> Call {
        let found = async {
            loop {
                let call = self.calls.recv().await.expect("the double lives");
                if call.member == member {
                    return call;
                }
            }
        };
        timeout(DEADLINE, found).await.unwrap_or_else(|_| panic!("`{member}` was not called"))
    }

    /// Whether `member` is not called for `time`.
    pub async fn is_not_called(&mut self, member: &str, time: Duration) -> bool {
        let found = async {
            while let Some(call) = self.calls.recv().await {
                if call.member == member {
                    return;
                }
            }
        };
        timeout(time, found).await.is_err()
    }

    pub async fn emit<B>(&self, path: &str, interface: &str, member: &str, body: &B)
    where
        B: Serialize + zbus::DynamicType,
    {
        self.bus.emit_signal(None::<&str>, path, interface, member, body).await.unwrap();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a double answers.
pub enum Answer {
    Nothing,
    Descriptor(OwnedFd),
    Number(u64),
    Path(&'static str),
    Refusal,
}

impl Answer {
    async fn send(self, bus: &Connection, to: &Message) {
        let header = to.header();
        let sent = match self {
            Answer::Nothing => bus.reply(&header, &()).await,
            Answer::Descriptor(fd) => bus.reply(&header, &zbus::Fd::from(fd.as_fd())).await,
            Answer::Number(number) => bus.reply(&header, &zbus::Variant::from(number)).await,
            Answer::Path(path) => {
                bus.reply(&header, &OwnedObjectPath::try_from(path).unwrap()).await
            }
            Answer::Refusal => {
                bus.reply_error(&header, "org.freedesktop.DBus.Error.AccessDenied", &"no").await
            }
        };
        sent.unwrap();
    }
}
