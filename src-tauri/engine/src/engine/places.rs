//! Owns the clusters and SSH hosts in use while the snapshot is being written.
//!
//! Receives the forwards and what the cluster monitor saw; emits the contexts of the
//! snapshot, marks which forward is in trouble because of which, and says when a place
//! turned into something else.

use localport_core::cluster::Sight;
use localport_core::event::Kind;
use localport_core::graph;
use localport_core::problem::Problem;
use localport_core::snapshot::{Context, Forward, ForwardState, Reach, Technology, TunnelState};
use localport_core::time::Timestamp;
use std::collections::BTreeMap;

/// What is remembered of places between two snapshots.
#[derive(Default)]
pub(super) struct Places {
    /// What the monitor last saw, by context.
    pub(super) sights: BTreeMap<String, Sight>,
    /// Places that turned since this was last taken, to be announced.
    pub(super) turns: Vec<Kind>,
    held: BTreeMap<(bool, String), (Reach, Timestamp)>,
}

impl Places {
    /// The places in use, in the order of their first forward; marks the forwards whose
    /// trouble hangs under something.
    pub(super) fn judge(&mut self, forwards: &mut [Forward], now: Timestamp) -> Vec<Context> {
        let mut contexts = gather(forwards, now);
        for context in &mut contexts {
            let members: Vec<&Forward> = members(context, forwards).collect();
            let sight = self.sights.get(&context.name);
            let sight = sight.filter(|_| context.technology == Technology::Kubectl);
            graph::judge(context, &members, sight);
            self.turned(context, now);
        }
        self.held.retain(|(ssh, name), _| {
            contexts.iter().any(|c| (c.technology == Technology::Ssh, &c.name) == (*ssh, name))
        });
        graph::mark(&mut contexts, forwards);
        contexts
    }

    /// Takes down since when the place is what it is.
    fn turned(&mut self, context: &mut Context, now: Timestamp) {
        let key = (context.technology == Technology::Ssh, context.name.clone());
        let before = self.held.get(&key).copied();
        if let Some((_, since)) = before.filter(|(reach, _)| *reach == context.reach) {
            context.since = since;
            return;
        }
        context.since = now;
        self.held.insert(key, (context.reach, now));
        let from = before.map_or(Reach::Unknown, |(reach, _)| reach);
        if context.reach != from {
            self.turns.push(Kind::Reach {
                context: context.name.clone(),
                technology: context.technology,
                from,
                to: context.reach,
                problem: context.problem.clone().filter(|_| graph::is_away(context.reach)),
            });
        }
    }
}

/// The forwards that are switched on through the place `context`.
fn members<'a>(
    context: &Context,
    forwards: &'a [Forward],
) -> impl Iterator<Item = &'a Forward> + use<'a> {
    let (name, technology) = (context.name.clone(), context.technology);
    forwards.iter().filter(move |forward| {
        forward.state != ForwardState::Stopped
            && forward.context == name
            && forward.technology == technology
    })
}

fn gather(forwards: &[Forward], now: Timestamp) -> Vec<Context> {
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
                let mut place = Context::unknown(&forward.context, forward.technology, now);
                place.problem.clone_from(&forward.problem);
                places.push(place);
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
