//! Owns the way from what is to what a person is told: asks `core::notify` what to say,
//! has the desktop say it, and turns its buttons into commands.
//!
//! Receives snapshots, events of the system and answers of the desktop; emits messages,
//! commands and the list of recent troubles. The desktop is spoken to in a task of its
//! own: one that does not answer delays nothing.

#[cfg_attr(target_os = "linux", path = "notifications/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "notifications/threads.rs")]
mod platform;

use crate::desktop;
use crate::surface::Action as Asked;
use localport_core::command::Command;
use localport_core::event::Kind;
use localport_core::notify::{Act, Action, History, Input, Key, Message, Now, Recent, decide};
use localport_core::snapshot::Snapshot;
use localport_engine::handle::{Clock, EngineHandle};
use localport_engine::registry::Tasks;
use platform::Screen;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// What is decided waits here for the desktop; more than a day of trouble.
const WAITING: usize = 64;

/// Between two looks at the snapshot: much shorter than anything is waited for, long
/// enough that a thousand forwards that change one by one are looked at together.
const PACE: Duration = Duration::from_millis(100);

/// The button that a click on the message itself stands for.
const DEFAULT: &str = "default";

/// What a person did with a message: its key, and the button's name.
type Answer = (Key, String);

/// The loop's state.
pub(crate) struct Notifications {
    engine: EngineHandle,
    tasks: Tasks,
    actions: mpsc::Sender<Asked>,
    recent: watch::Sender<Vec<Recent>>,
    history: History,
    /// What each message offers that was last shown under its key.
    offers: BTreeMap<Key, Vec<Action>>,
}

impl Notifications {
    /// Nothing told yet. `recent` hears of every trouble, `actions` of clicks that open
    /// the window.
    pub(crate) fn new(
        engine: EngineHandle,
        tasks: Tasks,
        actions: mpsc::Sender<Asked>,
        recent: watch::Sender<Vec<Recent>>,
    ) -> Self {
        Self {
            engine,
            tasks,
            actions,
            recent,
            history: History::default(),
            offers: BTreeMap::new(),
        }
    }

    /// Runs until the engine's last snapshot, and until the desktop has taken away what
    /// is shown.
    pub(crate) async fn run(mut self) {
        let (show, acts) = mpsc::channel(WAITING);
        let (say, mut answers) = mpsc::channel(WAITING);
        let screen = Screen::new(self.tasks.child("notifications"), say);
        let screen = self.tasks.spawn_to_end("notifications' desktop", perform(screen, acts));
        let (mut snapshots, mut events) = (self.engine.snapshot(), self.engine.events());
        let clock = self.engine.clock();
        loop {
            self.hear(&mut events);
            let snapshot = snapshots.borrow_and_update().clone();
            self.look(&snapshot, &show);
            let seen = Instant::now();
            let due = self.history.due().map(|due| clock.instant(due).max(seen + PACE));
            tokio::select! {
                biased;
                Some(answer) = answers.recv() => self.obey(&answer),
                changed = snapshots.changed() => match changed {
                    Ok(()) => sleep_until(seen + PACE).await,
                    Err(_) => break,
                },
                () = sleep_until(due.unwrap_or(seen)), if due.is_some() => {}
            }
        }
        drop(show);
        // A panic in it is taken down by its group.
        let _ = screen.await;
    }

    /// What happened since the last look. Lost events are no loss: the snapshot says
    /// what is, and what a wake would have silenced is told.
    fn hear(&mut self, events: &mut broadcast::Receiver<Arc<localport_core::event::Event>>) {
        loop {
            let input = match events.try_recv() {
                Ok(event) => match event.kind {
                    Kind::Woke { .. } => Input::Woke,
                    Kind::NetworkChanged => Input::NetworkChanged,
                    _ => continue,
                },
                Err(broadcast::error::TryRecvError::Lagged(_)) => continue,
                Err(_) => return,
            };
            let history = std::mem::take(&mut self.history);
            let settings = self.engine.snapshot().borrow().config.notifications.clone();
            (self.history, _) = decide(history, input, &settings, now(&self.engine.clock()));
        }
    }

    fn look(&mut self, snapshot: &Snapshot, show: &mpsc::Sender<Act>) {
        let history = std::mem::take(&mut self.history);
        let (settings, now) = (&snapshot.config.notifications, now(&self.engine.clock()));
        let (history, acts) = decide(history, Input::Is(snapshot), settings, now);
        self.history = history;
        for act in acts {
            self.remember(&act);
            if let Err(error) = show.try_send(act) {
                tracing::warn!("a notification is lost: {error}");
            }
        }
        self.recent.send_if_modified(|recent| {
            let changed = !recent.iter().eq(self.history.recent());
            if changed {
                *recent = self.history.recent().iter().cloned().collect();
            }
            changed
        });
    }

    fn remember(&mut self, act: &Act) {
        match act {
            Act::Show(message) | Act::Replace(message) => {
                tracing::info!("a person is told: {}", message.title);
                self.offers.insert(message.key.clone(), message.actions.clone());
            }
            Act::Withdraw(key) => {
                self.offers.remove(key);
            }
        }
    }

    fn obey(&self, (key, button): &Answer) {
        let offered = self.offers.get(key).into_iter().flatten();
        let mut offered = offered.filter(|action| action.id() == button);
        match offered.next() {
            Some(Action::Retry(selector)) => self.ask(Command::RetryNow(selector.clone())),
            Some(Action::LogIn(context)) => self.ask(Command::Login(context.clone())),
            Some(Action::Open) => self.open(),
            None if button == DEFAULT => self.open(),
            None => tracing::debug!(button, "a button that is not offered any more"),
        }
    }

    fn open(&self) {
        if let Err(error) = self.actions.try_send(Asked::OpenWindow) {
            tracing::warn!("the window is not opened: {error}");
        }
    }

    fn ask(&self, command: Command) {
        let engine = self.engine.clone();
        self.tasks.spawn("notification command", async move {
            if let Err(refusal) = engine.command(command).await {
                tracing::warn!("refused: {refusal}");
            }
        });
    }
}

fn now(clock: &Clock) -> Now {
    let at = clock.now();
    Now { at, offset: desktop::utc_offset(at) }
}

/// Shows and takes away, in order, until nothing more comes; then takes away the rest.
async fn perform(mut screen: Screen, mut acts: mpsc::Receiver<Act>) {
    while let Some(act) = acts.recv().await {
        match act {
            Act::Show(message) | Act::Replace(message) => screen.show(message).await,
            Act::Withdraw(key) => screen.withdraw(&key).await,
        }
    }
}

/// The buttons of a message, the one for a click on the message itself among them.
fn buttons(message: &Message) -> impl Iterator<Item = (&'static str, &'static str)> {
    message.actions.iter().map(|action| (action.id(), action.label()))
}
