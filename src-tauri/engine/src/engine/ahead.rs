//! Owns the steps that wait until the journal has written them down, and what a person
//! switched.
//!
//! Receives entries with the step they announce; emits the steps in their order, each
//! when it may go on. The loop waits for none of them.

use super::parts::Wanted;
use super::{Ready, Reply, Reserved};
use crate::handle::Apply;
use crate::journal::{Ack, Journal, Trouble};
use localport_core::command::{Command, Done};
use localport_core::config::{Change, Config, ForwardSpec, Plan};
use localport_core::journal::{Entry, Switches};
use localport_core::shutdown::Stage;
use localport_core::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use tokio::sync::watch;

/// What outlives an engine.
pub struct Memory {
    /// Where every step is written down ahead.
    pub journal: Journal,
    /// What people switched in earlier lives.
    pub switches: Switches,
    /// What the start found of the life before, if that is worth a sentence.
    pub found: Option<String>,
}

impl Memory {
    /// None: for an engine without a home.
    #[must_use]
    pub fn none() -> Self {
        Self { journal: Journal::nowhere(), switches: Switches::default(), found: None }
    }
}

/// What waits for the journal.
pub(super) enum Step {
    Obey { orders: Vec<Ready>, done: Done, reply: Reply },
    Part(Wanted, Reserved),
    Enter(Stage, Timestamp),
    Resume(Option<Reply>),
    Apply(Box<Apply>),
    Say(String),
}

pub(super) struct Ahead {
    memory: Memory,
    /// What the configuration says of each forward.
    enabled: HashMap<String, bool>,
    waiting: VecDeque<(Ack, Step)>,
    trouble: watch::Receiver<Trouble>,
    said: Vec<String>,
}

impl Ahead {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            trouble: memory.journal.trouble(),
            memory,
            enabled: HashMap::new(),
            waiting: VecDeque::new(),
            said: vec![],
        }
    }

    /// Whether `spec` is to run; remembers what its configuration says.
    pub(super) fn wanted(&mut self, spec: &ForwardSpec) -> bool {
        self.enabled.insert(spec.name.clone(), spec.enabled);
        self.memory.switches.wanted(&spec.name, spec.enabled)
    }

    /// Whether the forward `name` is to run, which its configuration says is `enabled`.
    pub(super) fn is_wanted(&self, name: &str, enabled: bool) -> bool {
        self.memory.switches.wanted(name, enabled)
    }

    /// Whether the forward `name`, which its configuration says is `enabled`, was drained.
    pub(super) fn is_drained(&self, name: &str, enabled: bool) -> bool {
        self.memory.switches.is_drained(name, enabled)
    }

    /// `plan` is in force now: a switch goes with a forward that is renamed, and is
    /// forgotten when the file says the same.
    pub(super) fn configured(&mut self, plan: &Plan, config: &Config) {
        let mut entries = vec![];
        for Change { was, spec, .. } in plan.changed.iter().filter(|change| change.is_rename()) {
            let Some(enabled) = self.enabled.remove(was) else { continue };
            let on = self.memory.switches.wanted(was, enabled);
            let drained = self.memory.switches.is_drained(was, enabled);
            entries.extend(self.memory.switches.switch(was, enabled, enabled));
            if drained {
                entries.extend(self.memory.switches.switch(&spec.name, true, enabled));
                entries.extend(self.memory.switches.drain(&spec.name, enabled));
            } else if on != enabled {
                entries.extend(self.memory.switches.switch(&spec.name, on, enabled));
            }
        }
        let configured = config.forwards.iter().map(|spec| (spec.name.as_str(), spec.enabled));
        entries.extend(self.memory.switches.settle(configured.clone()));
        self.enabled = configured.map(|(name, enabled)| (name.to_owned(), enabled)).collect();
        for entry in entries {
            self.put(entry);
        }
    }

    pub(super) fn found(&mut self) -> Option<String> {
        self.memory.found.take()
    }

    /// What has to be written before `command` is carried out for `forwards`.
    pub(super) fn switched(&mut self, command: &Command, forwards: &[String]) -> Vec<Entry> {
        let on = match command {
            Command::Start(_) | Command::Restart(_) => true,
            Command::Stop(_) => false,
            // These two come by [`Ahead::drained`] and [`Ahead::resumed`].
            Command::Drain(_)
            | Command::Resume(_)
            | Command::RetryNow(_)
            | Command::TrustHostKey(_)
            | Command::Login(_)
            | Command::CancelQuit
            | Command::HurryQuit => return vec![],
        };
        self.each(forwards, |switches, name, enabled| switches.switch(name, on, enabled))
    }

    /// What has to be written before `forwards` are drained.
    pub(super) fn drained(&mut self, forwards: &[String]) -> Vec<Entry> {
        self.each(forwards, Switches::drain)
    }

    /// What has to be written before what a drain took of `forwards` is resumed.
    pub(super) fn resumed(&mut self, forwards: &[String]) -> Vec<Entry> {
        self.each(forwards, Switches::resume)
    }

    fn each(
        &mut self,
        forwards: &[String],
        change: impl Fn(&mut Switches, &str, bool) -> Option<Entry>,
    ) -> Vec<Entry> {
        let Self { memory, enabled, .. } = self;
        let known = forwards.iter().filter_map(|name| Some((name, *enabled.get(name)?)));
        known.filter_map(|(name, enabled)| change(&mut memory.switches, name, enabled)).collect()
    }

    /// Writes `entries` down; `step` comes out of [`Ahead::next`] when it may go on.
    pub(super) fn after(&mut self, entries: Vec<Entry>, step: Step) {
        self.waiting.push_back((self.memory.journal.order(entries), step));
    }

    /// Writes `entry` down; nothing waits for it.
    pub(super) fn put(&self, entry: Entry) {
        self.memory.journal.put(entry);
    }

    /// Drops the stages that wait: the end was called off before they began.
    pub(super) fn forget_stages(&mut self) {
        self.waiting.retain(|(_, step)| !matches!(step, Step::Enter(..)));
    }

    /// Whether no step waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next step that may go on. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Step {
        let Self { waiting, trouble, said, .. } = self;
        let first = async {
            match waiting.front_mut() {
                Some((ack, _)) => ack.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            words = news(trouble, said) => return Step::Say(words),
            () = first => {}
        }
        match self.waiting.pop_front() {
            Some((_, step)) => step,
            None => std::future::pending().await,
        }
    }
}

/// The next trouble that has not been said yet.
async fn news(trouble: &mut watch::Receiver<Trouble>, said: &mut Vec<String>) -> String {
    loop {
        let words = trouble.borrow_and_update().words();
        if let Some(words) = words.filter(|words| !said.contains(words)) {
            said.push(words.clone());
            return words;
        }
        if trouble.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
