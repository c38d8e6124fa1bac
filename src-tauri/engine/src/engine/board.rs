//! Owns the snapshot while it is being written: what every supervisor last showed.

use crate::handle::Clock;
use crate::relay::Counters;
use crate::supervisor::view;
use localport_core::command::{Refusal, Selector};
use localport_core::config::Config;
use localport_core::problem::Problem;
use localport_core::snapshot::{
    Bytes, ConfigView, Connections, Context, Forward, ForwardState, Phase, Snapshot, TunnelState,
};
use localport_core::time::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) struct Board {
    pub(super) seq: u64,
    pub(super) phase: Phase,
    started: Timestamp,
    names: Vec<String>,
    tags: Vec<Vec<String>>,
    contexts: Vec<String>,
    forwards: Vec<Option<Forward>>,
    counters: Vec<Arc<Counters>>,
    config: ConfigView,
}

impl Board {
    pub(super) fn new(config: &Config, searched: &[PathBuf], clock: Clock) -> Self {
        let names: Vec<String> = config.forwards.iter().map(|spec| spec.name.clone()).collect();
        Self {
            seq: 0,
            phase: Phase::Starting,
            started: clock.now(),
            tags: config.forwards.iter().map(|spec| spec.tags.clone()).collect(),
            contexts: config.forwards.iter().map(view::context).collect(),
            forwards: vec![None; names.len()],
            counters: Vec::with_capacity(names.len()),
            names,
            config: ConfigView {
                files: config.files.iter().map(|file| file.display().to_string()).collect(),
                searched: searched.iter().map(|file| file.display().to_string()).collect(),
                diagnostics: config.diagnostics.clone(),
            },
        }
    }

    pub(super) fn adopt(&mut self, counters: Arc<Counters>) {
        self.counters.push(counters);
    }

    pub(super) fn show(&mut self, index: usize, forward: Forward) {
        self.forwards[index] = Some(forward);
    }

    /// Whether every forward is as `is` says; one that has not been shown yet is not.
    pub(super) fn all(&self, is: impl Fn(&Forward) -> bool) -> bool {
        self.forwards.iter().all(|forward| forward.as_ref().is_some_and(&is))
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// Connections of this forward that are open now.
    pub(super) fn open(&self, name: &str) -> u32 {
        let index = self.names.iter().position(|known| known == name);
        let counters = index.and_then(|index| self.counters.get(index));
        counters.map_or(0, |counters| connections(counters).open)
    }

    /// The forwards meant, in the order of the configuration.
    pub(super) fn select(&self, selector: &Selector) -> Result<Vec<usize>, Refusal> {
        match selector {
            Selector::All => Ok((0..self.names.len()).collect()),
            Selector::Tag(tag) => {
                let tagged: Vec<usize> =
                    (0..self.tags.len()).filter(|index| self.tags[*index].contains(tag)).collect();
                if tagged.is_empty() {
                    return Err(Refusal::UnknownTag { tag: tag.clone() });
                }
                Ok(tagged)
            }
            Selector::Context(context) => {
                let within: Vec<usize> = (0..self.contexts.len())
                    .filter(|index| self.contexts[*index] == *context)
                    .collect();
                if within.is_empty() {
                    let known = self.contexts.iter().map(String::as_str);
                    return Err(Refusal::unknown_context(context, known));
                }
                Ok(within)
            }
            Selector::Names(names) => {
                let found: Result<BTreeSet<usize>, Refusal> =
                    names.iter().map(|name| self.find(name)).collect();
                Ok(found?.into_iter().collect())
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Refusal> {
        self.names
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| Refusal::unknown(name, self.names.iter().map(String::as_str)))
    }

    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let forwards: Vec<Forward> = self
            .forwards
            .iter()
            .zip(&self.counters)
            .filter_map(|(forward, counters)| {
                let mut forward = forward.clone()?;
                forward.connections = connections(counters);
                forward.bytes = bytes(counters);
                Some(forward)
            })
            .collect();
        Snapshot {
            seq: self.seq,
            at: now,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: self.phase,
            started: self.started,
            ending: None,
            contexts: contexts(&forwards),
            forwards,
            config: self.config.clone(),
        }
    }
}

pub(crate) fn connections(counters: &Counters) -> Connections {
    Connections {
        open: counters.open.load(Ordering::Relaxed),
        held: counters.held.load(Ordering::Relaxed),
        total: counters.total.load(Ordering::Relaxed),
    }
}

pub(crate) fn bytes(counters: &Counters) -> Bytes {
    Bytes { up: counters.up.load(Ordering::Relaxed), down: counters.down.load(Ordering::Relaxed) }
}

/// The places in use, in the order of their first forward.
fn contexts(forwards: &[Forward]) -> Vec<Context> {
    let mut places: Vec<Context> = vec![];
    for forward in forwards.iter().filter(|forward| forward.state != ForwardState::Stopped) {
        let known = places
            .iter_mut()
            .find(|c| c.name == forward.context && c.technology == forward.technology);
        let place = match known {
            Some(place) => {
                place.problem = shared(place.problem.take(), forward.problem.as_ref());
                place
            }
            None => {
                places.push(Context {
                    name: forward.context.clone(),
                    technology: forward.technology,
                    forwards: 0,
                    up: 0,
                    problem: forward.problem.clone(),
                });
                let last = places.len() - 1;
                &mut places[last]
            }
        };
        place.forwards += 1;
        place.up += u32::from(forward.tunnel.state == TunnelState::Up);
    }
    places
}

/// A place's problem is one that all its forwards have.
fn shared(first: Option<Problem>, other: Option<&Problem>) -> Option<Problem> {
    first.filter(|first| other.is_some_and(|other| other.code == first.code))
}
