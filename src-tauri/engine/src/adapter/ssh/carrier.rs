//! Owns the ways a running `ssh` carries connections: the channels of a master, or SOCKS5.
//!
//! Receives dials, checks and pings; emits streams, and refusals in the far side's words.

#[cfg(unix)]
use super::channel::ChannelStream;
#[cfg(unix)]
use super::channels::{Channels, OpenError, lock};
#[cfg(unix)]
use super::mux;
use super::socks;
use crate::adapter::Upstream;
use localport_core::problem::Problem;
#[cfg(unix)]
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// RFC 4254 section 5.1: the server's policy forbids the dial.
pub(super) const REASON_PROHIBITED: u32 = 1;

/// The far side's no to a dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// RFC 4254's reason.
    pub(super) reason: u32,
    /// The far side's words; empty where they are not passed on.
    pub(super) text: String,
}

/// Why a dial did not give a stream.
#[derive(Debug)]
pub(super) enum DialError {
    /// The far side said no.
    Refused(Refusal),
    /// The connection to the SSH host ended.
    #[cfg_attr(not(unix), expect(dead_code, reason = "without a control socket the process tells"))]
    Ended(Problem),
    /// The `ssh` process could not be spoken to.
    Broken(io::Error),
}

/// The way connections take.
pub(super) enum Carrier {
    #[cfg(unix)]
    Mux(Mux),
    Socks(SocketAddr),
}

/// A master in proxy mode.
#[cfg(unix)]
pub(super) struct Mux {
    channels: Channels,
    control: PathBuf,
    /// Targets that refused last. A master in proxy mode never frees the channel of a
    /// refused dial (seen on 9.2: about a kilobyte each), so these are asked in another
    /// way until they accept again.
    suspects: Mutex<HashMap<(String, u16), Refusal>>,
    pulse: tokio::sync::Mutex<Pulse>,
}

#[cfg(unix)]
#[derive(Default)]
struct Pulse {
    channel: PulseChannel,
    last: Option<(Instant, Duration)>,
}

#[cfg(unix)]
#[derive(Default)]
enum PulseChannel {
    #[default]
    Unopened,
    Open(ChannelStream),
    /// The server allows no session, not even an empty one.
    Forbidden,
}

impl Carrier {
    /// The way's name in a route.
    pub(super) fn path(&self) -> &'static str {
        match self {
            #[cfg(unix)]
            Carrier::Mux(_) => "ssh-mux",
            Carrier::Socks(_) => "ssh-socks",
        }
    }

    /// A connection to `host`:`port`, which the far side has confirmed.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Upstream>, DialError> {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => Ok(Box::new(mux.dial(host, port).await?)),
            Carrier::Socks(proxy) => Ok(Box::new(socks::dial(*proxy, host, port).await?)),
        }
    }

    /// Whether `host`:`port` accepts a connection.
    pub(super) async fn check(&self, host: &str, port: u16) -> Result<(), DialError> {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => mux.check(host, port).await,
            Carrier::Socks(proxy) => socks::dial(*proxy, host, port).await.map(drop),
        }
    }

    /// One round trip of the connection to the SSH host; none where the server allows
    /// nothing to ask with.
    pub(super) async fn ping(&self) -> Result<Option<Duration>, DialError> {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => mux.ping().await,
            Carrier::Socks(proxy) => {
                let asked = Instant::now();
                // Its refusal is as good an answer: it comes from the far side.
                match socks::dial(*proxy, "127.0.0.1", 1).await {
                    Ok(_) | Err(DialError::Refused(_)) => Ok(Some(asked.elapsed())),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// When the far side was last heard of; none where that cannot be seen.
    pub(super) fn heard(&self) -> Option<Instant> {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => Some(mux.channels.heard()),
            Carrier::Socks(_) => None,
        }
    }

    /// Resolves when the way is closed, with what is known of the reason.
    pub(super) async fn ended(&self) -> Problem {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => {
                let mut ended = mux.channels.ended();
                match ended.wait_for(Option::is_some).await {
                    Ok(problem) => problem.clone(),
                    Err(_) => None,
                }
                .unwrap_or_else(|| super::lost("the SSH connection ended".to_owned()))
            }
            // The process' own end tells.
            Carrier::Socks(_) => std::future::pending().await,
        }
    }

    /// Ends every connection: their reads give a reset.
    pub(super) fn end(&self, problem: Problem) {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => mux.channels.end(problem),
            Carrier::Socks(_) => drop(problem),
        }
    }

    /// Asks the process to end in its own words, where it has any.
    pub(super) async fn terminate(&self) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Carrier::Mux(mux) => mux::terminate(&mux.control).await,
            Carrier::Socks(_) => Ok(()),
        }
    }
}

#[cfg(unix)]
impl Mux {
    pub(super) fn new(channels: Channels, control: PathBuf) -> Self {
        Self { channels, control, suspects: Mutex::default(), pulse: tokio::sync::Mutex::default() }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<ChannelStream, DialError> {
        if self.suspect(host, port).is_some() {
            self.check(host, port).await?;
        }
        self.open(host, port).await
    }

    async fn check(&self, host: &str, port: u16) -> Result<(), DialError> {
        let Some(refusal) = self.suspect(host, port) else {
            return self.open(host, port).await.map(drop);
        };
        match mux::dial(&self.control, host, port).await.map_err(DialError::Broken)? {
            mux::Dial::Refused => Err(DialError::Refused(refusal)),
            mux::Dial::Accepted => {
                lock(&self.suspects).remove(&(host.to_owned(), port));
                Ok(())
            }
        }
    }

    async fn open(&self, host: &str, port: u16) -> Result<ChannelStream, DialError> {
        match self.channels.open(host, port).await {
            Ok(stream) => Ok(stream),
            Err(OpenError::Ended(problem)) => Err(DialError::Ended(problem)),
            Err(OpenError::Refused(refusal)) => {
                lock(&self.suspects).insert((host.to_owned(), port), refusal.clone());
                Err(DialError::Refused(refusal))
            }
        }
    }

    fn suspect(&self, host: &str, port: u16) -> Option<Refusal> {
        let suspects = lock(&self.suspects);
        if suspects.is_empty() {
            return None;
        }
        suspects.get(&(host.to_owned(), port)).cloned()
    }

    /// Askers at the same time share one question: a thousand forwards to one host cost
    /// one round trip.
    async fn ping(&self) -> Result<Option<Duration>, DialError> {
        let wanted = Instant::now();
        let mut pulse = self.pulse.lock().await;
        if let Some((asked, took)) = pulse.last
            && asked >= wanted
        {
            return Ok(Some(took));
        }
        let asked = Instant::now();
        let took = match self.ask(&mut pulse).await {
            // A server may close idle sessions: once more, on a new one.
            Err(DialError::Broken(_)) => self.ask(&mut pulse).await?,
            answered => answered?,
        };
        let Some(took) = took else { return Ok(None) };
        self.channels.answered_in(took);
        pulse.last = Some((asked, took));
        Ok(Some(took))
    }

    /// One question on the pulse channel, which is opened where there is none.
    async fn ask(&self, pulse: &mut Pulse) -> Result<Option<Duration>, DialError> {
        if let PulseChannel::Unopened = pulse.channel {
            pulse.channel = match self.channels.open_session().await {
                Ok(stream) => PulseChannel::Open(stream),
                Err(OpenError::Refused(_)) => PulseChannel::Forbidden,
                Err(OpenError::Ended(problem)) => return Err(DialError::Ended(problem)),
            };
        }
        let PulseChannel::Open(channel) = &pulse.channel else { return Ok(None) };
        let asked = Instant::now();
        match channel.ask().await {
            Ok(()) => Ok(Some(asked.elapsed())),
            Err(error) => {
                pulse.channel = PulseChannel::Unopened;
                Err(DialError::Broken(error))
            }
        }
    }
}

#[cfg(test)]
#[path = "carrier/tests.rs"]
mod tests;
