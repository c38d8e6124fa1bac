//! Owns one trouble from its first sign to its end: since when, what was told of it and
//! what was shown.
//!
//! Told and shown are two things: in quiet hours trouble is told to the menu, and shown
//! when they end, if it still is.

use super::trouble::{Look, Trouble, look};
use super::unsteady::{Past, STEADY};
use super::words::{self, Words};
use super::{Action, Calm, Cause, Key, LINGER, LONGEST_CALM, Settings};
use crate::command::Selector;
use crate::snapshot::{Forward, Snapshot, TunnelState};
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is seen of a trouble.
pub(super) enum Seen {
    /// It is there.
    Wrong(Trouble),
    /// It is not, with proof.
    Fine {
        /// The forwards concerned that serve.
        serving: Vec<String>,
        /// How many are concerned.
        of: usize,
    },
    /// Neither.
    Unclear,
    /// Nothing is expected of it any more: switched off, removed, or part of another.
    Gone,
}

/// One trouble.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    trouble: Trouble,
    /// Every forward that had it.
    members: BTreeSet<String>,
    since: Timestamp,
    /// Since when it is there without a break.
    unbroken: Timestamp,
    /// Since when its cause is what it is.
    caused: Timestamp,
    fine: Option<Timestamp>,
    /// Since when a part of the place serves.
    partly: Option<Timestamp>,
    told: Option<Cause>,
    said: Option<Cause>,
    /// Since when it comes and goes.
    unsteady: Option<Timestamp>,
}

impl Case {
    pub(super) fn new(trouble: Trouble, at: Timestamp) -> Self {
        Self {
            trouble,
            members: BTreeSet::new(),
            since: at,
            unbroken: at,
            caused: at,
            fine: None,
            partly: None,
            told: None,
            said: None,
            unsteady: None,
        }
    }

    pub(super) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    pub(super) fn is_unsteady(&self) -> bool {
        self.unsteady.is_some()
    }

    /// Whether what was told has not been shown.
    pub(super) fn is_unsaid(&self) -> bool {
        self.told.is_some() && self.said != self.told
    }

    pub(super) fn was_said(&self) -> bool {
        self.said.is_some()
    }

    pub(super) fn say(&mut self) {
        self.said = self.told;
    }

    /// What was shown is taken away, and shown again when that is wanted again.
    pub(super) fn unsay(&mut self) {
        self.said = None;
    }

    /// It is there, as `trouble`.
    pub(super) fn update(&mut self, trouble: Trouble, at: Timestamp) {
        if self.fine.take().is_some() {
            self.unbroken = at;
        }
        if self.trouble.cause != trouble.cause {
            self.caused = at;
        }
        self.members.extend(trouble.forwards.iter().cloned());
        self.trouble = trouble;
    }

    /// Since when it is not there.
    pub(super) fn fine(&mut self, at: Timestamp) -> Timestamp {
        *self.fine.get_or_insert(at)
    }

    /// How long its end must last to be told.
    pub(super) fn patience(&self, settings: &Settings) -> Duration {
        if self.is_unsteady() { STEADY } else { settings.debounce }
    }

    /// When there is something to tell; none when everything is told.
    pub(super) fn due(&self, settings: &Settings, calm: &Calm) -> Option<Timestamp> {
        let begun = match self.told {
            _ if self.is_unsteady() => return Some(self.unbroken + STEADY),
            None => self.since,
            Some(told) if told != self.trouble.cause => self.caused,
            Some(_) => return None,
        };
        let due = begun + settings.debounce;
        if self.trouble.forwards.iter().any(|forward| calm.proved.contains(forward)) {
            return Some(due);
        }
        Some(due.max(calm.until.min(begun + LONGEST_CALM)))
    }

    /// It is told now.
    pub(super) fn tell(&mut self, past: &mut Past, at: Timestamp) {
        if self.unsteady.take().is_some() {
            // It stayed, so it is told as what it is.
            past.forget_alarms();
            self.said = None;
        }
        if self.told.is_none() || self.said.is_none() {
            let (_, lasted) = past.alarms(at);
            self.unsteady = past.alarm(at).then(|| at - lasted);
        }
        self.told = Some(self.trouble.cause);
    }

    /// What there is to say of it.
    pub(super) fn words(&self, key: &Key, past: &Past, at: Timestamp) -> Words {
        if self.is_unsteady() {
            let (times, within) = past.alarms(at);
            return words::unsteady(key, times, within);
        }
        words::alarm(key, &self.trouble)
    }

    /// What there is to say of its end.
    pub(super) fn recovery(
        &self,
        key: &Key,
        serving: &[String],
        of: usize,
        at: Timestamp,
    ) -> Words {
        let end = self.fine.unwrap_or(at);
        match self.unsteady {
            Some(since) => words::steady(key, serving, of, end.since(since)),
            None => words::recovery(key, self.trouble.cause, serving, of, end.since(self.since)),
        }
    }

    /// The forwards that wait because of it.
    fn retry(&self, key: &Key) -> Selector {
        match key {
            Key::Place(name) if self.trouble.cause != Cause::Several => {
                Selector::Context(name.clone())
            }
            _ => Selector::Names(self.trouble.forwards.clone()),
        }
    }

    /// What its message offers.
    pub(super) fn actions(&self, key: &Key) -> Vec<Action> {
        let login = self.trouble.login.then(|| Action::LogIn(self.trouble.place.clone()));
        login.into_iter().chain([Action::Retry(self.retry(key)), Action::Open]).collect()
    }

    /// The cause that what is left of this trouble still counts as.
    pub(super) fn lingers(&self, at: Timestamp) -> Option<Cause> {
        let over = self.linger_end().is_some_and(|end| end <= at);
        (self.trouble.cause == Cause::Several || !over).then_some(self.trouble.cause)
    }

    /// Until when that is so, once a part of the place serves.
    pub(super) fn linger_end(&self) -> Option<Timestamp> {
        self.partly.map(|since| since + LINGER)
    }

    /// Takes down whether a part of the place serves although it is not over.
    pub(super) fn is_partly(&mut self, key: &Key, snapshot: &Snapshot, at: Timestamp) {
        let place = |forward: &&Forward| forward.context == key.name();
        let serves =
            snapshot.forwards.iter().filter(place).any(|forward| look(forward, at) == Look::Serves);
        self.partly = if serves { self.partly.or(Some(at)) } else { None };
    }

    /// How those stand who had it, now that it is not there.
    pub(super) fn look(&self, key: &Key, snapshot: &Snapshot, at: Timestamp) -> Seen {
        let members: Vec<(&Forward, Look)> = snapshot
            .forwards
            .iter()
            .filter(|forward| self.members.contains(&forward.name))
            .map(|forward| (forward, look(forward, at)))
            .filter(|(_, look)| *look != Look::Off)
            .collect();
        if members.is_empty() {
            return Seen::Gone;
        }
        // A tunnel that is up proves the place, though its target may fail.
        let reached = |(forward, look): &(&Forward, Look)| {
            *look == Look::Serves
                || (matches!(key, Key::Place(_))
                    && *look == Look::Wrong
                    && forward.tunnel.state == TunnelState::Up)
        };
        if !members.iter().any(reached) {
            return Seen::Unclear;
        }
        let serving = members.iter().filter(|(_, look)| *look == Look::Serves);
        let serving = serving.map(|(forward, _)| forward.name.clone()).collect();
        Seen::Fine { serving, of: members.len() }
    }
}
