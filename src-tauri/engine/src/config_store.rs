//! Owns the configuration's way from its files into the running engine.
//!
//! Receives the wish to read again (a command, HUP, files that changed) and the engine's
//! phase; hands what was read to the engine, keeps what has to wait for the end to be
//! called off, and says what is not in force and why.

mod atomic;
pub mod history;
mod trail;
pub(crate) mod watch;

use crate::engine::HOST;
use crate::handle::EngineHandle;
use crate::home::Home;
use crate::host::configuration::{self, Loaded};
use crate::registry::{LeaseKind, Tasks};
use history::History;
use localport_core::command::Refusal;
use localport_core::config::reload::{Reload, Verdict, Who, judge};
use localport_core::config::{Config, Plan, diff};
use localport_core::snapshot::{ConfigView, Pending, PendingWhy, Phase};
use localport_core::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use watch::Watch;

/// Wishes that wait while the files are read.
const ASKS: usize = 16;
/// How long the files have to be left alone before they are read: editors write in
/// several steps, and a half-written file is often a valid one.
const QUIET: Duration = Duration::from_millis(300);
/// Files that never come to rest are read all the same after this time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks for the configuration to be read again. Clones are equal.
#[derive(Clone)]
pub struct Reloader {
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    who: Who,
    /// Only say what would change.
    dry: bool,
    reply: Option<oneshot::Sender<Reload>>,
}

impl Reloader {
    /// Reads the files again and waits until what changed has moved.
    ///
    /// # Errors
    /// The host is ending and reads no more.
    pub async fn reload(&self, who: Who, dry: bool) -> Result<Reload, Refusal> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { who, dry, reply: Some(reply) };
        self.asks.send(ask).await.map_err(|_| Refusal::Quitting)?;
        answer.await.map_err(|_| Refusal::Quitting)
    }

    /// Reads the files again; nobody waits for it.
    pub fn ask(&self, who: Who) {
        // A full channel holds wishes enough.
        let _ = self.asks.try_send(Ask { who, dry: false, reply: None });
    }
}

/// What the store is started with.
pub(crate) struct Options {
    pub(crate) home: Home,
    /// Files by name; empty means the search order.
    pub(crate) named: Vec<PathBuf>,
    pub(crate) engine: EngineHandle,
    /// What the engine was started with.
    pub(crate) in_force: Config,
    /// The files that it came from.
    pub(crate) texts: Vec<(PathBuf, Vec<u8>)>,
}

/// The running store. It ends with [`ConfigStore::finish`].
pub(crate) struct ConfigStore {
    reloader: Reloader,
    tasks: Tasks,
}

impl ConfigStore {
    pub(crate) fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Reads no more, and watches no more.
    pub(crate) async fn finish(&self) {
        self.tasks.cancel();
        self.tasks.wait().await;
    }
}

/// Starts the store below `tasks`.
pub(crate) fn start(options: Options, tasks: &Tasks) -> ConfigStore {
    let tasks = tasks.child(HOST);
    let (asks, asks_in) = mpsc::channel(ASKS);
    let lease = tasks.registry().lease(LeaseKind::Watch, "configuration files", HOST);
    let store = Store {
        applied: options.engine.clock().now(),
        history: Arc::new(History::new(&options.home)),
        home: options.home,
        named: options.named,
        engine: options.engine,
        in_force: options.in_force,
        kept: None,
    };
    let (texts, why) = (options.texts, format!("{} forwards", store.in_force.forwards.len()));
    tasks.spawn("configuration", async move {
        let _lease = lease;
        store.remember(texts, Who::Start, why).await;
        store.run(asks_in).await;
    });
    ConfigStore { reloader: Reloader { asks }, tasks }
}

struct Store {
    home: Home,
    history: Arc<History>,
    named: Vec<PathBuf>,
    engine: EngineHandle,
    in_force: Config,
    applied: Timestamp,
    /// Valid, and to be applied if the end is called off.
    kept: Option<Kept>,
}

/// A configuration that waits.
#[derive(Clone)]
struct Kept {
    config: Config,
    view: ConfigView,
    texts: Vec<(PathBuf, Vec<u8>)>,
    who: Who,
}

/// What the store has to do next.
enum Next {
    Answer(Ask),
    /// Something changed: read when it has come to rest.
    Wait,
    Read,
    GoOn,
    End,
}

impl Store {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut watch = Watch::new("the configuration is read again on `localport reload` only");
        watch.aim(self.places());
        // What changed between the first reading and the watch is found now.
        let mut changed = Some((Instant::now(), Instant::now()));
        let mut snapshots = self.engine.snapshot();
        loop {
            let due = changed.map(|(first, last)| (last + QUIET).min(first + PATIENCE));
            let goes_on = snapshots.wait_for(|snapshot| {
                matches!(snapshot.phase, Phase::Running | Phase::Asleep)
                    && snapshot.ending.is_none()
            });
            let next = tokio::select! {
                ask = asks.recv() => ask.map_or(Next::End, Next::Answer),
                () = watch.changed() => Next::Wait,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Next::Read,
                Ok(_) = goes_on, if self.kept.is_some() => Next::GoOn,
            };
            match next {
                Next::End => return,
                Next::Wait => {
                    let now = Instant::now();
                    changed = Some((changed.map_or(now, |(first, _)| first), now));
                    continue;
                }
                Next::Answer(ask) => self.answer(ask).await,
                Next::Read => {
                    changed = None;
                    self.answer(Ask { who: Who::File, dry: false, reply: None }).await;
                }
                Next::GoOn => self.apply_kept().await,
            }
            watch.aim(self.places());
        }
    }

    fn places(&self) -> Vec<PathBuf> {
        if self.named.is_empty() { configuration::places(&self.home) } else { self.named.clone() }
    }

    async fn answer(&mut self, ask: Ask) {
        let (home, named) = (self.home.clone(), self.named.clone());
        let Ok(loaded) = spawn_blocking(move || configuration::load(&home, &named)).await else {
            tracing::error!("reading the configuration failed");
            return;
        };
        let reload = self.take(loaded, ask.who, ask.dry).await;
        tracing::debug!(who = ?ask.who, dry = ask.dry, "{}", reload.sentence);
        if let Some(reply) = ask.reply {
            // Whoever asked may have gone.
            let _ = reply.send(reload);
        }
    }

    async fn take(&mut self, loaded: Loaded, who: Who, dry: bool) -> Reload {
        let Loaded { config, searched, texts, .. } = loaded;
        let plan = diff(&self.in_force, &config);
        let verdict = match judge(&config, who, self.is_ending()) {
            // What the start tolerated is no news.
            Verdict::Leave(_) if self.is_in_force(&plan, &config) => Verdict::Apply,
            verdict => verdict,
        };
        if dry {
            let pending = match verdict {
                Verdict::Apply => None,
                Verdict::Keep => Some(Pending::of(PendingWhy::Ending, &config, "")),
                Verdict::Leave(why) => Some(Pending::of(why, &config, "")),
            };
            return report(&plan, &config, pending, false);
        }
        let applied = if plan.is_empty() { self.applied } else { self.engine.clock().now() };
        let view = ConfigView::of(&config, &searched, applied);
        let pending = match verdict {
            Verdict::Leave(why) => Some(Pending::of(why, &config, "")),
            Verdict::Apply => {
                self.apply(Kept { config: config.clone(), view: view.clone(), texts, who }).await
            }
            Verdict::Keep => {
                self.kept = Some(Kept { config: config.clone(), view: view.clone(), texts, who });
                Some(Pending::of(PendingWhy::Ending, &config, ""))
            }
        };
        if let Some(pending) = &pending {
            self.say(view, pending.clone()).await;
        }
        let in_force = pending.is_none();
        report(&plan, &config, pending, in_force)
    }

    fn is_in_force(&self, plan: &Plan, config: &Config) -> bool {
        plan.is_empty()
            && config.files == self.in_force.files
            && config.diagnostics == self.in_force.diagnostics
    }

    /// Has the engine take `new` on, and keeps it in the history; why not, if not.
    async fn apply(&mut self, new: Kept) -> Option<Pending> {
        match self.engine.apply(new.config.clone(), new.view.clone()).await {
            Ok(plan) => {
                self.applied = new.view.applied;
                self.in_force = new.config;
                self.kept = None;
                self.remember(new.texts, new.who, plan.summary()).await;
                None
            }
            // It began to end meanwhile.
            Err(Refusal::Quitting) => {
                let pending = Pending::of(PendingWhy::Ending, &new.config, "");
                self.kept = Some(new);
                Some(pending)
            }
            Err(refusal) => {
                self.go_back(&new.view).await;
                let words = refusal.to_string();
                Some(Pending::of(PendingWhy::Refused, &new.config, &words))
            }
        }
    }

    /// Whatever of a configuration came into force before it failed, what was in force
    /// before is in force again.
    async fn go_back(&self, view: &ConfigView) {
        let notifications = Arc::new(self.in_force.notifications.clone());
        let view = ConfigView { applied: self.applied, notifications, ..view.clone() };
        if let Err(refusal) = self.engine.apply(self.in_force.clone(), view).await {
            tracing::error!("the configuration before cannot be applied again: {refusal}");
        }
    }

    /// The end was called off.
    async fn apply_kept(&mut self) {
        let Some(mut kept) = self.kept.take() else { return };
        kept.view.applied = self.engine.clock().now();
        let view = kept.view.clone();
        if let Some(pending) = self.apply(kept).await {
            self.say(view, pending).await;
        }
    }

    async fn say(&self, view: ConfigView, pending: Pending) {
        let notifications = Arc::new(self.in_force.notifications.clone());
        let view =
            ConfigView { pending: Some(pending), applied: self.applied, notifications, ..view };
        self.engine.say_config(view).await;
    }

    /// Keeps what came into force. That it could not be kept is said and no more: what
    /// runs matters more than what ran.
    async fn remember(&self, texts: Vec<(PathBuf, Vec<u8>)>, who: Who, why: String) {
        let (history, at) = (self.history.clone(), self.engine.clock().now());
        let kept = spawn_blocking(move || history.keep(&texts, at, who, &why)).await;
        if let Ok(Err(error)) = kept {
            let dir = self.home.configs();
            tracing::warn!("the configuration is not kept in `{}`: {error}", dir.display());
        }
    }

    fn is_ending(&self) -> bool {
        let snapshot = self.engine.snapshot();
        let snapshot = snapshot.borrow();
        snapshot.ending.is_some() || matches!(snapshot.phase, Phase::Draining | Phase::Stopped)
    }
}

fn report(plan: &Plan, config: &Config, pending: Option<Pending>, in_force: bool) -> Reload {
    let sentence = match &pending {
        Some(pending) => pending.sentence.clone(),
        None if plan.is_empty() => "nothing changed".to_owned(),
        None => plan.summary(),
    };
    Reload {
        in_force,
        sentence,
        lines: plan.lines(),
        plan: plan.show(),
        diagnostics: config.diagnostics.clone(),
        pending,
    }
}

#[cfg(test)]
mod tests;
