//! Owns one running `ssh`: how it starts, what it says, how its end is noticed.
//!
//! Receives a destination; emits a [`Master`] for sessions to share, and its end as one
//! problem. Any frame from the far side is life; five seconds without one are followed
//! by a question, and a question without an answer means frozen.

use super::birth::Birth;
use super::carrier::{Carrier, DialError};
use super::destination::Destination;
use super::dir::PrivateDir;
use super::{Ground, classify, hostkey};
use crate::process::Child;
use crate::registry::LeaseId;
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Time from the start to the first proved word; jump hosts and slow logins included.
const START_LIMIT: Duration = Duration::from_secs(45);

/// Silence after which the far side is asked.
const QUIET: Duration = Duration::from_secs(5);

/// Time it has for an answer; with the silence before, a frozen host is known in 11 s.
pub(super) const ANSWER: Duration = Duration::from_secs(6);

/// How long the process' own words are waited for when its socket closed first.
const EXIT_WORDS: Duration = Duration::from_secs(1);

/// A running `ssh` that sessions share.
pub(super) struct Master {
    pub(super) words: String,
    pub(super) carrier: Carrier,
    /// The lease of its process.
    pub(super) child: LeaseId,
    ended: watch::Sender<Option<Problem>>,
}

/// What belongs to a master and ends with it.
pub(super) struct Keeper {
    master: Arc<Master>,
    child: Child,
    dir: PrivateDir,
}

/// Who wants to read what the process says. Clones share the list.
#[derive(Clone, Default)]
pub(super) struct Audience {
    list: Arc<Mutex<BTreeMap<u64, mpsc::Sender<Kind>>>>,
}

/// A place in the audience, until it is dropped.
pub(super) struct Seat {
    audience: Audience,
    number: u64,
}

/// Why a kept master is to end.
pub(super) enum Ending {
    /// It ended by itself.
    Lost(Problem),
    /// Nobody needs it.
    Unused,
    /// The adapter shuts down.
    Closing,
}

impl Master {
    /// Starts `ssh` and waits until it carries connections. Dropping the future ends it.
    pub(super) async fn start(
        ground: &Ground,
        destination: &Destination,
        audience: &Audience,
    ) -> Result<Keeper, Problem> {
        let dir = ground.private_dir().await.map_err(internal)?;
        let mut birth = Birth::begin(ground, destination, audience, dir).await?;
        let outcome = timeout(START_LIMIT, birth.carrier()).await;
        match outcome {
            Ok(Ok(carrier)) => {
                let master = Arc::new(Master {
                    words: destination.words(),
                    carrier,
                    child: birth.lease(),
                    ended: watch::Sender::new(None),
                });
                Ok(birth.grown(ground, audience, master))
            }
            Ok(Err(problem)) => {
                let tail = birth.end().await;
                Err(hostkey::explain(ground, destination, problem, &tail).await)
            }
            Err(_) => Err(Problem::new(
                Code::SshUnreachable,
                format!("`{}` did not let us in within 45 s", destination.words()),
                "the network or the server's login may be slow; try `ssh` in a terminal",
            )),
        }
    }

    /// Resolves when it has ended by itself or was ended, with the reason.
    pub(super) async fn ended(&self) -> Problem {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(problem) => problem.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| super::lost("the SSH connection ended".to_owned()))
    }

    pub(super) fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// A ping with its deadline; none where the server allows nothing to ask with.
    pub(super) async fn ping(&self) -> Result<Option<Duration>, Problem> {
        let asked = Instant::now();
        match timeout(ANSWER, self.carrier.ping()).await {
            Ok(Ok(took)) => Ok(took),
            Ok(Err(DialError::Ended(problem))) => Err(problem),
            Ok(Err(DialError::Refused(_) | DialError::Broken(_))) => {
                Err(super::lost(format!("`{}` broke off", self.words)))
            }
            // Late behind a flood of data is not frozen; a frame that was under way when
            // the far side froze is no life.
            Err(_) if self.carrier.heard().is_some_and(|heard| heard.elapsed() < QUIET) => {
                Ok(Some(asked.elapsed()))
            }
            Err(_) => Err(classify::frozen(&self.words)),
        }
    }

    /// Ends when the far side no longer answers.
    async fn frozen(&self) -> Problem {
        // The first question is not about life: it tells the path's round trip early.
        let _ = self.ping().await;
        loop {
            let Some(heard) = self.carrier.heard() else {
                // The process' own keepalive (15 s) has to do.
                return std::future::pending().await;
            };
            if heard.elapsed() < QUIET {
                sleep_until(heard + QUIET).await;
                continue;
            }
            match self.ping().await {
                Ok(Some(_)) => {}
                Ok(None) => return std::future::pending().await,
                Err(problem) if problem.code == Code::SshFrozen => return problem,
                // The end itself is told by the process or its socket.
                Err(_) => sleep(QUIET).await,
            }
        }
    }
}

impl Keeper {
    pub(super) fn new(master: Arc<Master>, child: Child, dir: PrivateDir) -> Self {
        Self { master, child, dir }
    }

    pub(super) fn master(&self) -> &Arc<Master> {
        &self.master
    }

    /// Resolves when the master ended by itself, with the best words there are.
    pub(super) async fn lost(&self) -> Problem {
        let master = &self.master;
        tokio::select! {
            _ = self.child.exited() => self.last_words(),
            problem = master.carrier.ended() => {
                match timeout(EXIT_WORDS, self.child.exited()).await {
                    Ok(_) => self.last_words(),
                    Err(_) => problem,
                }
            }
            problem = master.frozen() => problem,
        }
    }

    /// Ends what is left, politely first, in about `patience`.
    pub(super) async fn end(self, ending: Ending, patience: Duration) {
        let Keeper { master, child, dir } = self;
        let (problem, polite) = match ending {
            Ending::Lost(problem) => (problem, false),
            Ending::Unused => (super::lost("no forward needs the connection".to_owned()), true),
            Ending::Closing => (super::lost("LocalPort closed the connection".to_owned()), true),
        };
        master.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert_with(|| problem.clone());
            first
        });
        if polite && timeout(patience / 2, master.carrier.terminate()).await.is_ok() {
            let _ = timeout(patience / 2, child.exited()).await;
        }
        master.carrier.end(problem);
        child.end(if polite { patience / 2 } else { Duration::ZERO }).await;
        drop(dir);
    }

    fn last_words(&self) -> Problem {
        let tail = self.child.tail();
        let problem = classify::classify(&tail, &self.master.words);
        if problem.code == Code::SshFailed && !tail.iter().any(|line| classify::is_note(line)) {
            // Killed from outside: it had no time for words.
            return super::lost(format!("the `ssh` process to `{}` ended", self.master.words));
        }
        problem
    }
}

impl Audience {
    /// Takes a place.
    pub(super) fn join(&self, notes: mpsc::Sender<Kind>) -> Seat {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let number = list.last_key_value().map_or(0, |(last, _)| last + 1);
        list.insert(number, notes);
        Seat { audience: self.clone(), number }
    }

    pub(super) fn tell(&self, line: &str) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        for notes in list.values() {
            // Lossy: history must not hold up a connection.
            let _ = notes.try_send(Kind::Note { text: line.to_owned() });
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.audience.list.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Waits until nobody has needed the master for `linger`.
pub(super) async fn unused(
    mut users: watch::Receiver<usize>,
    linger: Duration,
    closing: &CancellationToken,
) -> Ending {
    loop {
        tokio::select! {
            () = closing.cancelled() => return Ending::Closing,
            idle = users.wait_for(|users| *users == 0) => drop(idle),
        }
        tokio::select! {
            () = closing.cancelled() => return Ending::Closing,
            () = sleep(linger) => return Ending::Unused,
            used = users.wait_for(|users| *users > 0) => drop(used),
        }
    }
}

pub(super) fn internal(error: io::Error) -> Problem {
    let code = if error.raw_os_error() == Some(24) { Code::OutOfFiles } else { Code::Internal };
    Problem::new(
        code,
        format!("`ssh` could not be started or spoken to: {error}"),
        "look at the limits of this user's processes and open files, and at the log",
    )
}
