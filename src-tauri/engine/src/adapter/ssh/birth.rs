//! Owns an `ssh` that does not carry connections yet: its command, its password, the wait
//! until the server accepted it.
//!
//! Receives a destination; emits the [`Carrier`], or why there is none.

use super::askpass::{Asker, Askpass};
use super::carrier::Carrier;
#[cfg(unix)]
use super::carrier::Mux;
#[cfg(unix)]
use super::channels::Channels;
use super::destination::{Destination, Meeting, Way};
use super::dir::PrivateDir;
use super::master::{Audience, Keeper, Master, internal};
use super::{Ground, classify, hostkey};
use crate::process::{Child, ChildSpec};
use crate::registry::LeaseId;
use localport_core::problem::Problem;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Between two looks for the control socket once the server accepted us: `ssh` makes it
/// within a millisecond then, and tells nobody.
const SOCKET_LOOK: Duration = Duration::from_millis(3);

/// A process that does not carry yet.
pub(super) struct Birth<'a> {
    ground: &'a Ground,
    destination: &'a Destination,
    audience: &'a Audience,
    child: Child,
    lines: mpsc::Receiver<String>,
    dir: PrivateDir,
    port: u16,
    /// Needed until the server accepted us, not longer.
    _askpass: Option<Askpass>,
}

impl<'a> Birth<'a> {
    pub(super) async fn begin(
        ground: &'a Ground,
        destination: &'a Destination,
        audience: &'a Audience,
        dir: PrivateDir,
    ) -> Result<Self, Problem> {
        let options = &ground.options;
        let control = dir.socket();
        let (port, args) = match options.way {
            Way::Mux => {
                // A stale socket would make ssh run without multiplexing.
                let _ = std::fs::remove_file(&control);
                (0, destination.master_args(&options.extra_args, &Meeting::Control(&control)))
            }
            Way::Socks => {
                let port = free_port().map_err(internal)?;
                (port, destination.master_args(&options.extra_args, &Meeting::Port(port)))
            }
        };
        let askpass = askpass(ground, destination, &dir).await?;
        let spec = ChildSpec {
            name: format!("ssh {}", destination.words()),
            owner: "ssh".to_owned(),
            program: options.ssh.clone(),
            args,
            env: askpass.as_ref().map(Askpass::env).unwrap_or_default(),
            dir: Some(dir.path().to_owned()),
        };
        let (child, lines) = ground.children.spawn(spec).await.map_err(|error| {
            let program = options.ssh.display().to_string();
            match error.kind() {
                io::ErrorKind::NotFound => classify::missing(&program),
                _ => internal(error),
            }
        })?;
        Ok(Self { ground, destination, audience, child, lines, dir, port, _askpass: askpass })
    }

    /// The lease of the process.
    pub(super) fn lease(&self) -> LeaseId {
        self.child.lease()
    }

    /// Waits until connections are carried.
    pub(super) async fn carrier(&mut self) -> Result<Carrier, Problem> {
        let mut accepted = false;
        loop {
            tokio::select! {
                Some(line) = self.lines.recv() => {
                    accepted |= classify::is_authenticated(&line);
                    self.tell(&line);
                }
                _ = self.child.exited() => return Err(self.failed()),
                () = sleep(SOCKET_LOOK), if accepted => {
                    if let Some(carrier) = self.meet().await? {
                        return Ok(carrier);
                    }
                }
            }
        }
    }

    /// The carrier, once the process listens.
    async fn meet(&self) -> Result<Option<Carrier>, Problem> {
        match self.ground.options.way {
            #[cfg(unix)]
            Way::Mux => match super::mux::proxy(&self.dir.socket()).await {
                Ok(stream) => {
                    let channels = Channels::start(stream, &self.ground.tasks);
                    Ok(Some(Carrier::Mux(Mux::new(channels, self.dir.socket()))))
                }
                Err(error) if is_not_yet(&error) => Ok(None),
                Err(error) => Err(internal(error)),
            },
            #[cfg(not(unix))]
            Way::Mux => Err(internal(io::Error::other("multiplexing needs Unix sockets"))),
            Way::Socks => {
                let proxy = (std::net::Ipv4Addr::LOCALHOST, self.port).into();
                match tokio::net::TcpStream::connect(proxy).await {
                    Ok(_) => Ok(Some(Carrier::Socks(proxy))),
                    Err(error) if is_not_yet(&error) => Ok(None),
                    Err(error) => Err(internal(error)),
                }
            }
        }
    }

    /// Ends it and gives its last words.
    pub(super) async fn end(self) -> Vec<String> {
        self.child.end(Duration::ZERO).await;
        self.child.tail()
    }

    fn failed(&self) -> Problem {
        classify::classify(&self.child.tail(), &self.destination.words())
    }

    fn tell(&self, line: &str) {
        if classify::is_note(line) {
            self.audience.tell(line);
        }
    }

    pub(super) fn grown(self, ground: &Ground, audience: &Audience, master: Arc<Master>) -> Keeper {
        let Birth { child, mut lines, dir, .. } = self;
        let audience = audience.clone();
        // Ends with the process: its pipe closes.
        ground.tasks.spawn(format!("ssh {}: words", master.words), async move {
            while let Some(line) = lines.recv().await {
                if classify::is_note(&line) {
                    audience.tell(&line);
                }
            }
        });
        Keeper::new(master, child, dir)
    }
}

async fn askpass(
    ground: &Ground,
    destination: &Destination,
    dir: &PrivateDir,
) -> Result<Option<Askpass>, Problem> {
    let Some(password) = &destination.password else { return Ok(None) };
    let settings = hostkey::resolved(ground, destination).await?;
    let program = match &ground.options.askpass_program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(internal)?,
    };
    let asker = Asker::new(destination, &settings);
    Askpass::listen(dir, &program, asker, password.clone(), &ground.tasks)
        .map(Some)
        .map_err(internal)
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A loopback port that is free now. Should another process take it before `ssh` does,
/// `ssh` ends and the next attempt draws another.
fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
