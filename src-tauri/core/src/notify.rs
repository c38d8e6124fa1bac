//! Owns what a person is told without asking, and when: one message for one trouble, one
//! for its end, and nothing for what was planned.
//!
//! Receives the snapshot, what the system did, the settings and the time; emits [`Act`]s
//! and the time at which it wants to be asked again. Shows nothing itself.

mod case;
mod recent;
mod settings;
mod trouble;
mod unsteady;
mod words;

#[cfg(test)]
mod tests;

pub use recent::Recent;
pub use settings::{DEFAULT_DEBOUNCE, Now, Quiet, Settings};
pub use trouble::{Cause, Key};

use crate::command::Selector;
use crate::snapshot::{Phase, Snapshot};
use crate::time::Timestamp;
use case::{Case, Seen};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use trouble::Look;
use unsteady::Past;

/// After a start and a wake networks need this long to come up: DHCP, VPN, log-in pages.
const SETTLE: Duration = Duration::from_secs(20);
/// After a change of the network or of the configuration sessions are made anew.
const MOVE: Duration = Duration::from_secs(10);
/// However often the network changes, trouble of this age is told.
const LONGEST_CALM: Duration = Duration::from_secs(60);
/// How long what is left of an outage counts as the outage, once something serves again:
/// the other forwards' next attempts are due by then.
const LINGER: Duration = Duration::from_secs(30);

/// What can happen.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// What is. Also given when [`History::due`] has come.
    Is(&'a Snapshot),
    /// The machine woke up.
    Woke,
    /// Addresses, routes or the default network changed.
    NetworkChanged,
}

/// What to do on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Show a message; nothing is shown under its key.
    Show(Message),
    /// Show a message in place of the one under its key.
    Replace(Message),
    /// Take away the message under this key, if it is still there.
    Withdraw(Key),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub key: Key,
    /// The fact, in one line.
    pub title: String,
    /// Reason and remedy; plain text, lines separated.
    pub body: String,
    /// What can be done, the likeliest first.
    pub actions: Vec<Action>,
    /// How much it matters.
    pub urgency: Urgency,
}

/// What a message offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the waiting retries of these forwards due.
    Retry(Selector),
    /// Log in to this Kubernetes context.
    LogIn(String),
    /// Open the window.
    Open,
}

/// How much a message matters. None is critical: on many desktops such a message stays
/// until it is clicked away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Good to know.
    Low,
    /// Something is wrong.
    Normal,
}

/// What has been told so far, and what may have to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    cases: BTreeMap<Key, Case>,
    past: BTreeMap<Key, Past>,
    shown: BTreeMap<Key, Message>,
    recent: VecDeque<Recent>,
    calm: Calm,
    phase: Option<Phase>,
    applied: Timestamp,
    due: Option<Timestamp>,
}

/// A time in which trouble is expected and not told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Calm {
    began: Timestamp,
    until: Timestamp,
    /// Whether the machine slept: what mends itself now was nobody's outage.
    slept: bool,
    /// Forwards that were proved since it began: what they suffer now is news.
    proved: BTreeSet<String>,
}

/// Decides what to tell. The history given back belongs into the next call.
#[must_use]
pub fn decide(
    mut history: History,
    input: Input<'_>,
    settings: &Settings,
    now: Now,
) -> (History, Vec<Act>) {
    let acts = match input {
        Input::Is(snapshot) => history.see(snapshot, settings, now),
        Input::Woke => {
            history.wake(now.at);
            vec![]
        }
        Input::NetworkChanged => {
            history.calm.extend(now.at, MOVE);
            vec![]
        }
    };
    (history, acts)
}

impl Action {
    /// The name under which the desktop gives it back.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Action::Retry(_) => "retry",
            Action::LogIn(_) => "login",
            Action::Open => "open",
        }
    }

    /// What a person reads on its button.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Action::Retry(_) => "Retry now",
            Action::LogIn(_) => "Log in",
            Action::Open => "Open",
        }
    }
}

impl History {
    /// When the snapshot has to be looked at again although nothing happens.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// The last troubles, newest first, also those that were not shown.
    #[must_use]
    pub fn recent(&self) -> &VecDeque<Recent> {
        &self.recent
    }

    fn see(&mut self, snapshot: &Snapshot, settings: &Settings, now: Now) -> Vec<Act> {
        self.due = None;
        match snapshot.phase {
            Phase::Starting => return vec![],
            Phase::Asleep => {
                self.phase = Some(Phase::Asleep);
                self.forget_untold();
                return vec![];
            }
            Phase::Draining | Phase::Stopped => {
                self.phase = Some(snapshot.phase);
                return self.end();
            }
            Phase::Running => self.enter_running(snapshot, now.at),
        }
        self.take_proofs(snapshot, now.at);
        self.past.retain(|_, past| past.prune(now.at));
        let mut acts = vec![];
        for (key, seen) in self.sort(snapshot, now.at) {
            self.step(key, seen, settings, now, &mut acts);
        }
        acts
    }

    /// LocalPort quits: nothing is expected of anything any more.
    fn end(&mut self) -> Vec<Act> {
        self.cases.clear();
        self.recent.iter_mut().for_each(|recent| recent.over = true);
        std::mem::take(&mut self.shown).into_keys().map(Act::Withdraw).collect()
    }

    fn enter_running(&mut self, snapshot: &Snapshot, at: Timestamp) {
        match self.phase.replace(Phase::Running) {
            Some(Phase::Running) if self.applied != snapshot.config.applied => {
                self.calm.extend(at, MOVE);
            }
            Some(Phase::Running) => {}
            Some(Phase::Asleep) => self.wake(at),
            _ => self.calm = Calm { began: at, until: at + SETTLE, ..Calm::default() },
        }
        self.applied = snapshot.config.applied;
    }

    fn wake(&mut self, at: Timestamp) {
        self.forget_untold();
        self.calm = Calm { began: at, until: at + SETTLE, slept: true, proved: BTreeSet::new() };
    }

    /// What was about to be told is not: the sleep explains it.
    fn forget_untold(&mut self) {
        self.cases.retain(|_, case| case.is_told());
    }

    fn take_proofs(&mut self, snapshot: &Snapshot, at: Timestamp) {
        if self.calm.until <= at {
            return;
        }
        let began = self.calm.began;
        let proved = snapshot.forwards.iter().filter(|forward| {
            trouble::look(forward, at) == Look::Serves
                && forward.target_health.checked.is_some_and(|checked| checked >= began)
        });
        self.calm.proved.extend(proved.map(|forward| forward.name.clone()));
    }

    /// What is seen of every trouble, known or new.
    fn sort(&mut self, snapshot: &Snapshot, at: Timestamp) -> Vec<(Key, Seen)> {
        let cases = &self.cases;
        let lingers = |place: &str| {
            cases.get(&Key::Place(place.to_owned())).and_then(|case| case.lingers(at))
        };
        let mut wrong = trouble::troubles(snapshot, at, lingers);
        let absorbed: BTreeSet<String> = wrong
            .iter()
            .filter(|(key, _)| matches!(key, Key::Place(_)))
            .flat_map(|(_, trouble)| trouble.forwards.iter().cloned())
            .collect();
        let mut sorted: Vec<(Key, Seen)> = vec![];
        for (key, case) in &mut self.cases {
            let seen = match wrong.remove(key) {
                Some(trouble) => {
                    case.is_partly(key, snapshot, at);
                    Seen::Wrong(trouble)
                }
                None if matches!(key, Key::Forward(name) if absorbed.contains(name)) => Seen::Gone,
                None => case.look(key, snapshot, at),
            };
            sorted.push((key.clone(), seen));
        }
        sorted.extend(wrong.into_iter().map(|(key, trouble)| (key, Seen::Wrong(trouble))));
        sorted
    }

    fn step(&mut self, key: Key, seen: Seen, settings: &Settings, now: Now, acts: &mut Vec<Act>) {
        let known = self.cases.remove(&key);
        match seen {
            Seen::Wrong(trouble) => {
                let mut case = known.unwrap_or_else(|| Case::new(trouble.clone(), now.at));
                case.update(trouble, now.at);
                if let Some(end) = case.linger_end().filter(|end| *end > now.at) {
                    self.wait(end);
                }
                self.suffer(&key, &mut case, settings, now, acts);
                self.cases.insert(key, case);
            }
            Seen::Unclear => self.cases.extend(known.map(|case| (key, case))),
            Seen::Gone => {
                recent::close(&mut self.recent, &key);
                self.withdraw(&key, acts);
            }
            Seen::Fine { serving, of } => {
                let Some(mut case) = known.filter(Case::is_told) else { return };
                let over = case.fine(now.at) + case.patience(settings);
                if now.at < over {
                    self.wait(over);
                    self.cases.insert(key, case);
                    return;
                }
                self.mend(&key, &case, &serving, of, settings, now, acts);
            }
        }
    }

    /// Something is wrong: tells it once it has lasted.
    fn suffer(
        &mut self,
        key: &Key,
        case: &mut Case,
        settings: &Settings,
        now: Now,
        acts: &mut Vec<Act>,
    ) {
        let past = self.past.entry(key.clone()).or_default();
        if let Some(due) = case.due(settings, &self.calm) {
            if now.at < due {
                self.wait(due);
            } else {
                case.tell(past, now.at);
                let (title, body) = case.words(key, past, now.at);
                recent::note(&mut self.recent, key, now, title, body, case.actions(key));
            }
        }
        if !speaks(settings, &case.trouble().place) {
            case.unsay();
            return self.withdraw(key, acts);
        }
        if !case.is_unsaid() {
            return;
        }
        let past = self.past.entry(key.clone()).or_default();
        let free = settings.quiet.and_then(|quiet| quiet.until(now)).max(past.full_until(now.at));
        if let Some(free) = free {
            return self.wait(free);
        }
        let (title, body) = case.words(key, past, now.at);
        past.speak(now.at);
        case.say();
        let (key, actions) = (key.clone(), case.actions(key));
        self.show(Message { key, title, body, actions, urgency: Urgency::Normal }, acts);
    }

    /// It is over.
    #[allow(clippy::too_many_arguments, reason = "one caller, and each is of another room")]
    fn mend(
        &mut self,
        key: &Key,
        case: &Case,
        serving: &[String],
        of: usize,
        settings: &Settings,
        now: Now,
        acts: &mut Vec<Act>,
    ) {
        let (title, body) = case.recovery(key, serving, of, now.at);
        recent::over(&mut self.recent, key, &title, &body);
        let past = self.past.entry(key.clone()).or_default();
        if case.is_unsteady() {
            past.forget_alarms();
        }
        let silent = !speaks(settings, &case.trouble().place)
            || settings.quiet.is_some_and(|quiet| quiet.until(now).is_some())
            || past.full_until(now.at).is_some()
            || (self.calm.slept && now.at < self.calm.until);
        if silent || !case.was_said() {
            return self.withdraw(key, acts);
        }
        past.speak(now.at);
        let (key, actions) = (key.clone(), vec![Action::Open]);
        self.show(Message { key, title, body, actions, urgency: Urgency::Low }, acts);
    }

    fn show(&mut self, message: Message, acts: &mut Vec<Act>) {
        let act = match self.shown.insert(message.key.clone(), message.clone()) {
            // Away and back again while nothing could be shown: it is no news.
            Some(before) if before == message => return,
            Some(_) => Act::Replace(message),
            None => Act::Show(message),
        };
        acts.push(act);
    }

    fn withdraw(&mut self, key: &Key, acts: &mut Vec<Act>) {
        if self.shown.remove(key).is_some() {
            acts.push(Act::Withdraw(key.clone()));
        }
    }

    fn wait(&mut self, until: Timestamp) {
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
    }
}

impl Calm {
    fn extend(&mut self, at: Timestamp, by: Duration) {
        if self.until <= at {
            *self = Calm { began: at, ..Calm::default() };
        }
        self.until = self.until.max(at + by);
    }
}

fn speaks(settings: &Settings, place: &str) -> bool {
    settings.enabled && !settings.muted.contains(place)
}
