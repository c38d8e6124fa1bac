//! Owns how parts of an engine are drained and resumed while the rest goes on.
//!
//! Each forward of a part goes through the stages of [`crate::shutdown`] by itself, with
//! a budget of its own. Receives wishes, what the forwards show and the passing of time;
//! emits what the engine has to tell them, and a small receipt for each drain. The last
//! wish counts: a start or a resume ends a drain, a stop takes its mark away.

use crate::receipt::Held;
use crate::resource::LeaseKind;
use crate::shutdown::{self, Budgets, Input, Output, Stage, State};
use crate::snapshot::ForwardDrain;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How one drain of a part went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReceipt {
    /// The forwards it was about, in the order of the configuration.
    pub forwards: Vec<String>,
    /// From the wish until the last of them was drained, in milliseconds.
    pub took_ms: u64,
    /// What was cut.
    pub forced: Vec<Held>,
    /// What did not end, although it was cut.
    pub left: Vec<Held>,
    /// Forwards that were switched on again before they were drained.
    pub resumed: Vec<String>,
}

impl PartReceipt {
    /// Whether nothing was cut and nothing is left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.forced.is_empty() && self.left.is_empty()
    }
}

/// What the engine has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Tell {
    /// Close this forward's listener and let its open connections finish.
    Drain {
        /// The forward.
        name: String,
        /// Number of its drain.
        number: u64,
    },
    /// Cut what is open in the drain of this number.
    Cut {
        /// The forward.
        name: String,
        /// Number of its drain.
        number: u64,
    },
    /// Switch this forward on again.
    Start(String),
    /// This forward's drain entered a stage in which something is left to do.
    Entered(String, Stage),
    /// This forward is drained: how long it took, and how many connections were cut.
    Drained(String, Duration, u32),
    /// The drain of this number is over.
    Finished(u64, PartReceipt),
}

/// What came of a wish to drain.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// Number of the wish; [`Tell::Finished`] names it.
    pub number: u64,
    /// The forwards it is about.
    pub forwards: Vec<String>,
    /// Those that were drained already.
    pub drained: Vec<String>,
    /// Those that are switched off.
    pub off: Vec<String>,
    /// What to do.
    pub tell: Vec<Tell>,
}

/// The forwards that are drained or being drained, and those switched off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    parts: BTreeMap<String, Part>,
    off: BTreeSet<String>,
    wishes: BTreeMap<u64, Wish>,
    last: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    number: u64,
    state: State,
    budgets: Budgets,
    since: Timestamp,
    forced: u32,
    /// Whether a resume brings it back; a stop in the middle takes that away.
    kept: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Wish {
    since: Timestamp,
    pending: BTreeSet<String>,
    receipt: PartReceipt,
}

impl Parts {
    /// All forwards are on but those in `off`.
    #[must_use]
    pub fn new(off: impl IntoIterator<Item = String>) -> Self {
        Self { off: off.into_iter().collect(), ..Self::default() }
    }

    /// `name` was drained in an earlier life: a resume brings it back.
    pub fn restore(&mut self, name: &str, now: Timestamp) {
        let mut part = Part::begin(0, Duration::ZERO, now);
        part.state = State::Ended { passed: vec![] };
        self.off.remove(name);
        self.parts.insert(name.to_owned(), part);
    }

    /// Drains `names`; open connections get `within` to finish. What is being drained
    /// already gets no more time than it has.
    pub fn drain(&mut self, names: &[String], within: Duration, now: Timestamp) -> Begun {
        self.last += 1;
        let number = self.last;
        let (mut drained, mut off) = (vec![], vec![]);
        let (mut forwards, mut tell) = (vec![], vec![]);
        for name in names {
            if self.off.contains(name) {
                off.push(name.clone());
            } else if let Some(part) = self.parts.get_mut(name) {
                if part.is_over() {
                    drained.push(name.clone());
                    continue;
                }
                part.shorten(within, now);
                forwards.push(name.clone());
            } else {
                let part = Part::begin(number, within, now);
                self.parts.insert(name.clone(), part);
                tell.push(Tell::Drain { name: name.clone(), number });
                forwards.push(name.clone());
            }
        }
        let receipt = PartReceipt { forwards: forwards.clone(), ..PartReceipt::default() };
        let pending = forwards.iter().cloned().collect();
        self.wishes.insert(number, Wish { since: now, pending, receipt });
        self.finish(now, &mut tell);
        Begun { number, forwards, drained, off, tell }
    }

    /// Switches on again those of `names` that a drain took.
    pub fn resume(&mut self, names: &[String], now: Timestamp) -> (Vec<String>, Vec<Tell>) {
        let taken = |name: &&String| self.parts.get(*name).is_some_and(|part| part.kept);
        let taken: Vec<String> = names.iter().filter(taken).cloned().collect();
        let mut tell: Vec<Tell> = taken.iter().cloned().map(Tell::Start).collect();
        tell.extend(self.switched_on(&taken, now));
        (taken, tell)
    }

    /// A person switched `names` on: no drain holds them any more.
    pub fn switched_on(&mut self, names: &[String], now: Timestamp) -> Vec<Tell> {
        let mut tell = vec![];
        for name in names {
            self.off.remove(name);
            if self.parts.remove(name).is_some_and(|part| !part.is_over()) {
                self.settle(name, |receipt| receipt.resumed.push(name.clone()));
            }
        }
        self.finish(now, &mut tell);
        tell
    }

    /// A person switched `names` off: a resume does not bring them back. A drain under
    /// way goes on to its end.
    pub fn switched_off(&mut self, names: &[String]) {
        for name in names {
            self.off.insert(name.clone());
            match self.parts.get_mut(name) {
                Some(part) if part.is_over() => drop(self.parts.remove(name)),
                Some(part) => part.kept = false,
                None => {}
            }
        }
    }

    /// `name` is gone from the configuration.
    pub fn forget(&mut self, name: &str, now: Timestamp) -> Vec<Tell> {
        let mut tell = vec![];
        self.off.remove(name);
        self.parts.remove(name);
        self.settle(name, |_| {});
        self.finish(now, &mut tell);
        tell
    }

    /// What `name` shows once it has obeyed the drain of `number`: whether its listener
    /// is closed, and whether it has ended.
    pub fn shown(
        &mut self,
        name: &str,
        number: u64,
        closed: bool,
        ended: bool,
        now: Timestamp,
    ) -> Vec<Tell> {
        let mut tell = vec![];
        let Some(part) = self.parts.get_mut(name).filter(|part| part.number <= number) else {
            return tell;
        };
        while let State::Ending(ending) = &part.state {
            let stage = ending.stage;
            if !(ended || closed && stage == Stage::StopNewWork) {
                break;
            }
            // Nothing is left to tell of a forward that has ended.
            let outputs = part.step(Input::Done(stage), now);
            if !ended {
                entered(name, part.number, outputs, &mut tell);
            }
        }
        self.end(name, now, &mut tell);
        tell
    }

    /// `clients` connections of `name` were cut.
    pub fn forced(&mut self, name: &str, clients: u32) {
        let Some(part) = self.parts.get_mut(name).filter(|part| !part.is_over()) else { return };
        part.forced += clients;
        let held = connections(name, clients);
        for wish in self.wishes.values_mut().filter(|wish| wish.pending.contains(name)) {
            wish.receipt.forced.push(held.clone());
        }
    }

    /// When [`Parts::due`] is to be called; never while nothing is being drained.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.parts.values().filter_map(Part::until).min()
    }

    /// The time has come: stages that are over pass.
    pub fn due(&mut self, now: Timestamp) -> Vec<Tell> {
        let mut tell = vec![];
        let due = |part: &Part| part.until().is_some_and(|until| until <= now);
        let names: Vec<String> =
            self.parts.iter().filter(|(_, part)| due(part)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(part) = self.parts.get_mut(&name) else { continue };
            let outputs = part.step(Input::Due, now);
            entered(&name, part.number, outputs, &mut tell);
            if part.is_over() {
                let held = Held {
                    kind: LeaseKind::Connection,
                    name: "connections that do not end".to_owned(),
                    owner: name.clone(),
                };
                self.settle(&name, |receipt| receipt.left.push(held.clone()));
            }
            self.end(&name, now, &mut tell);
        }
        tell
    }

    /// How the drain of `name` stands; none while it is on, or off for another reason.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<ForwardDrain> {
        let part = self.parts.get(name).filter(|part| part.kept)?;
        let (stage, until) = match &part.state {
            State::Ending(ending) => (Some(ending.stage), Some(ending.until)),
            State::Running | State::Ended { .. } => (None, None),
        };
        Some(ForwardDrain { since: part.since, stage, until, forced: part.forced })
    }

    /// Whether the last wish was that `name` serves.
    #[must_use]
    pub fn wanted(&self, name: &str) -> bool {
        !self.off.contains(name) && !self.parts.contains_key(name)
    }

    fn end(&mut self, name: &str, now: Timestamp, tell: &mut Vec<Tell>) {
        let Some(part) = self.parts.get(name).filter(|part| part.is_over()) else { return };
        if self.wishes.values().any(|wish| wish.pending.contains(name)) {
            tell.push(Tell::Drained(name.to_owned(), now.since(part.since), part.forced));
        }
        if !part.kept {
            self.parts.remove(name);
        }
        self.settle(name, |_| {});
        self.finish(now, tell);
    }

    /// Nobody waits for `name` any more; says so in the receipts of those who did.
    fn settle(&mut self, name: &str, say: impl Fn(&mut PartReceipt)) {
        for wish in self.wishes.values_mut() {
            if wish.pending.remove(name) {
                say(&mut wish.receipt);
            }
        }
    }

    fn finish(&mut self, now: Timestamp, tell: &mut Vec<Tell>) {
        let over = |wish: &Wish| wish.pending.is_empty();
        let numbers: Vec<u64> =
            self.wishes.iter().filter(|(_, wish)| over(wish)).map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(Wish { since, mut receipt, .. }) = self.wishes.remove(&number) else {
                continue;
            };
            receipt.took_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
            tell.push(Tell::Finished(number, receipt));
        }
    }
}

impl Part {
    fn begin(number: u64, within: Duration, now: Timestamp) -> Self {
        let budgets = Budgets { complete_current: within, ..Budgets::default() };
        let state = State::Running;
        let mut part = Self { number, state, budgets, since: now, forced: 0, kept: true };
        // The first stage is told by the drain itself.
        part.step(Input::Ask, now);
        part
    }

    fn step(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        let state = std::mem::take(&mut self.state);
        let (state, outputs) = shutdown::step(state, input, &self.budgets, now);
        self.state = state;
        outputs
    }

    fn shorten(&mut self, within: Duration, now: Timestamp) {
        self.budgets.complete_current = self.budgets.complete_current.min(within);
        if let State::Ending(ending) = &mut self.state
            && ending.stage == Stage::CompleteCurrent
        {
            ending.until = ending.until.min(now + within);
        }
    }

    fn until(&self) -> Option<Timestamp> {
        match &self.state {
            State::Ending(ending) => Some(ending.until),
            State::Running | State::Ended { .. } => None,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }
}

fn entered(name: &str, number: u64, outputs: Vec<Output>, tell: &mut Vec<Tell>) {
    for output in outputs {
        if let Output::Enter(stage) = output {
            tell.push(Tell::Entered(name.to_owned(), stage));
            if stage == Stage::CancelTasks {
                tell.push(Tell::Cut { name: name.to_owned(), number });
            }
        }
    }
}

/// Connections of `owner`, as receipts name them.
#[must_use]
pub fn connections(owner: &str, count: u32) -> Held {
    let plural = if count == 1 { "" } else { "s" };
    Held {
        kind: LeaseKind::Connection,
        name: format!("{count} open connection{plural}"),
        owner: owner.to_owned(),
    }
}

#[cfg(test)]
mod tests;
