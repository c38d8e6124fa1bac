//! Owns in which order what is held is released, and how its release is told.
//!
//! Receives the graph of what stands on what, and what went when; emits waves in
//! reverse dependency, and the account that a receipt shows.

use crate::receipt::{Held, Released, Slow};
use crate::resource::LeaseKind;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many of the slowest are named.
const NAMED: usize = 3;

/// A task that ends this soon after the last thing was released only held it, in
/// milliseconds.
const HOLDING: u64 = 20;

/// One thing held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: u64,
    /// The numbers of what it needs. What is not in the graph is released already.
    pub stands_on: Vec<u64>,
}

/// In which order to release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Nothing of a wave stands on anything of the same or an earlier one.
    pub waves: Vec<Vec<u64>>,
    /// Dependencies that had to be overlooked because they form a circle: who stands
    /// on whom. Who claims after what it stands on makes none.
    pub broken: Vec<(u64, u64)>,
}

/// One thing that was released during the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its number.
    pub id: u64,
    /// What it was.
    pub held: Held,
    /// What it needed.
    pub stands_on: Vec<u64>,
    /// From the beginning of the end, in milliseconds.
    pub took_ms: u64,
    /// Whether it had to be forced.
    pub forced: bool,
}

/// What a receipt says about what was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// In good order, by kind.
    pub released: Vec<Released>,
    /// By force; the connections of one owner in one line.
    pub forced: Vec<Held>,
    /// The three that took longest by themselves, slowest first.
    pub slowest: Vec<Slow>,
}

/// The waves in which `nodes` are to be released: first what nothing stands on.
#[must_use]
pub fn order(nodes: &[Node]) -> Order {
    let mut ground: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for node in nodes {
        ground.entry(node.id).or_default().extend(&node.stands_on);
    }
    let known: BTreeSet<u64> = ground.keys().copied().collect();
    let mut load: BTreeMap<u64, usize> = known.iter().map(|id| (*id, 0)).collect();
    let mut order = Order::default();
    for (id, below) in &mut ground {
        below.retain(|other| known.contains(other));
        if below.remove(id) {
            order.broken.push((*id, *id));
        }
        for other in below.iter() {
            load.entry(*other).and_modify(|load| *load += 1);
        }
    }
    let mut wave: Vec<u64> = free(&load);
    while !load.is_empty() {
        if wave.is_empty() {
            wave = break_circle(&mut ground, &mut load, &mut order.broken);
        }
        let mut next = BTreeSet::new();
        for id in &wave {
            load.remove(id);
            for below in ground.remove(id).unwrap_or_default() {
                if let Some(left) = load.get_mut(&below) {
                    *left -= 1;
                    if *left == 0 {
                        next.insert(below);
                    }
                }
            }
        }
        order.waves.push(std::mem::replace(&mut wave, next.into_iter().collect()));
    }
    order
}

/// As [`order`], for things of which some can only be let go together: `group` says
/// which. A group goes in one wave, after everything that stands on any part of it.
#[must_use]
pub fn order_together(nodes: &[Node], group: impl Fn(u64) -> Option<u64>) -> Order {
    let of: BTreeMap<u64, u64> =
        nodes.iter().filter_map(|node| Some((node.id, group(node.id)?))).collect();
    let mut heads: BTreeMap<u64, u64> = BTreeMap::new();
    for (id, group) in &of {
        heads.entry(*group).or_insert(*id);
    }
    let head = |id: u64| of.get(&id).and_then(|group| heads.get(group)).copied().unwrap_or(id);
    let mut below: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut members: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for node in nodes {
        let own = head(node.id);
        members.entry(own).or_default().push(node.id);
        let grounds = node.stands_on.iter().map(|on| head(*on)).filter(|on| *on != own);
        below.entry(own).or_default().extend(grounds);
    }
    let joined: Vec<Node> = below
        .into_iter()
        .map(|(id, on)| Node { id, stands_on: on.into_iter().collect() })
        .collect();
    let mut order = order(&joined);
    for wave in &mut order.waves {
        *wave = wave.iter().filter_map(|id| members.remove(id)).flatten().collect();
    }
    order
}

fn free(load: &BTreeMap<u64, usize>) -> Vec<u64> {
    load.iter().filter(|(_, load)| **load == 0).map(|(id, _)| *id).collect()
}

/// Everything left stands on something that stands on it: the youngest goes first, as
/// if nothing stood on it.
fn break_circle(
    ground: &mut BTreeMap<u64, BTreeSet<u64>>,
    load: &mut BTreeMap<u64, usize>,
    broken: &mut Vec<(u64, u64)>,
) -> Vec<u64> {
    let Some((&youngest, _)) = load.last_key_value() else { return vec![] };
    for (id, below) in ground.iter_mut() {
        if below.remove(&youngest) {
            broken.push((*id, youngest));
        }
    }
    load.insert(youngest, 0);
    vec![youngest]
}

/// What went while something that needed it was still there, as pairs of who needed
/// it and what went too early.
#[must_use]
pub fn out_of_order(gone: &[Gone]) -> Vec<(&Held, &Held)> {
    let place: HashMap<u64, usize> = gone.iter().enumerate().map(|(at, g)| (g.id, at)).collect();
    let early = |at: usize, on: &u64| place.get(on).filter(|ground| **ground < at).copied();
    gone.iter()
        .enumerate()
        .flat_map(|(at, upper)| {
            let grounds = upper.stands_on.iter().filter_map(move |on| early(at, on));
            grounds.map(move |ground| (&upper.held, &gone[ground].held))
        })
        .collect()
}

/// The account of what went, in the order in which it went.
#[must_use]
pub fn account(gone: &[Gone]) -> Account {
    Account { released: released(gone), forced: forced(gone), slowest: slowest(gone) }
}

fn released(gone: &[Gone]) -> Vec<Released> {
    let mut kinds: BTreeMap<LeaseKind, (u32, u64)> = BTreeMap::new();
    for gone in gone.iter().filter(|gone| !gone.forced) {
        let (count, last) = kinds.entry(gone.held.kind).or_default();
        *count += 1;
        *last = gone.took_ms.max(*last);
    }
    let told = |(kind, (count, took_ms))| Released { kind, count, took_ms };
    kinds.into_iter().map(told).collect()
}

fn forced(gone: &[Gone]) -> Vec<Held> {
    let mut connections: BTreeMap<&str, usize> = BTreeMap::new();
    let mut others = Vec::new();
    for gone in gone.iter().filter(|gone| gone.forced) {
        match gone.held.kind {
            LeaseKind::Connection => *connections.entry(&gone.held.owner).or_default() += 1,
            _ => others.push(gone.held.clone()),
        }
    }
    let told = |(owner, count): (&str, usize)| {
        let plural = if count == 1 { "" } else { "s" };
        let name = format!("{count} open connection{plural}");
        Held { kind: LeaseKind::Connection, name, owner: owner.to_owned() }
    };
    connections.into_iter().map(told).chain(others).collect()
}

/// What waits for something else is not slow itself, so the time that counts begins
/// when the last thing that stood on it had gone.
fn slowest(gone: &[Gone]) -> Vec<Slow> {
    let mut freed: HashMap<u64, u64> = HashMap::new();
    for upper in gone {
        for on in &upper.stands_on {
            let freed = freed.entry(*on).or_default();
            *freed = upper.took_ms.max(*freed);
        }
    }
    let own = |gone: &Gone| gone.took_ms - gone.took_ms.min(*freed.get(&gone.id).unwrap_or(&0));
    let is_task = |gone: &&Gone| gone.held.kind == LeaseKind::Task;
    let last = gone.iter().filter(|gone| !is_task(gone)).map(|gone| gone.took_ms).max();
    let last = last.map_or(0, |last| last + HOLDING);
    let mut candidates: Vec<&Gone> =
        gone.iter().filter(|gone| !is_task(gone) || gone.took_ms > last).collect();
    candidates.sort_by_key(|gone| std::cmp::Reverse(own(gone)));
    candidates.truncate(NAMED);
    candidates.sort_by_key(|gone| std::cmp::Reverse(gone.took_ms));
    let told = |gone: &Gone| Slow { held: gone.held.clone(), took_ms: gone.took_ms };
    candidates.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(id: u64, stands_on: &[u64]) -> Node {
        Node { id, stands_on: stands_on.to_vec() }
    }

    fn gone(id: u64, kind: LeaseKind, took_ms: u64, stands_on: &[u64]) -> Gone {
        let held = Held { kind, name: format!("{}-{id}", kind.as_str()), owner: "wiki".into() };
        Gone { id, held, stands_on: stands_on.to_vec(), took_ms, forced: false }
    }

    /// S3.5: a directory under a child under a session under two connections.
    #[test]
    fn s3_5_what_carries_goes_after_what_it_carries() {
        let nodes = [node(1, &[]), node(2, &[1]), node(3, &[2]), node(4, &[3]), node(5, &[3, 99])];
        let order = order(&nodes);
        assert_eq!(order.waves, [vec![4, 5], vec![3], vec![2], vec![1]]);
        assert!(order.broken.is_empty());
    }

    #[test]
    fn s3_5_a_circle_is_broken_and_told() {
        let order = order(&[node(1, &[2]), node(2, &[1]), node(3, &[1]), node(4, &[4])]);
        assert_eq!(order.waves, [vec![3, 4], vec![2], vec![1]]);
        assert_eq!(order.broken, [(4, 4), (1, 2)]);
    }

    /// S3.5: a task goes with the child that it holds, after the child's sessions.
    #[test]
    fn s3_5_what_is_held_together_goes_together() {
        let nodes = [node(1, &[]), node(2, &[1]), node(3, &[2]), node(4, &[]), node(5, &[])];
        let order = order_together(&nodes, |id| (id == 2 || id == 4).then_some(7));
        assert_eq!(order.waves, [vec![3, 5], vec![2, 4], vec![1]]);
        assert!(order.broken.is_empty());
    }

    #[test]
    fn s3_5_what_went_too_early_is_named() {
        let child = gone(1, LeaseKind::Child, 3, &[]);
        let session = gone(2, LeaseKind::Session, 5, &[1]);
        assert_eq!(out_of_order(&[session.clone(), child.clone()]), []);
        let early = [child, session];
        let words: Vec<_> =
            out_of_order(&early).iter().map(|(a, b)| (a.name.as_str(), b.name.as_str())).collect();
        assert_eq!(words, [("session-2", "child-1")]);
    }

    /// S10.4: what only waited is not among the slowest; a task only when it outlasts
    /// what it held.
    #[test]
    fn s10_4_the_slowest_are_those_that_took_the_time() {
        let mut all = vec![
            gone(9, LeaseKind::Listener, 1, &[]),
            gone(1, LeaseKind::Connection, 5_000, &[2]),
            gone(2, LeaseKind::Session, 5_001, &[3]),
            gone(3, LeaseKind::Child, 5_300, &[4]),
            gone(4, LeaseKind::File, 5_300, &[]),
            gone(5, LeaseKind::Task, 5_301, &[]),
        ];
        let names = |gone: &[Gone]| {
            slowest(gone).into_iter().map(|slow| slow.held.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&all)[..2], ["child-3", "connection-1"]);
        all.push(gone(6, LeaseKind::Task, 9_000, &[]));
        assert_eq!(names(&all), ["task-6", "child-3", "connection-1"]);
    }

    #[test]
    fn s3_4_released_is_told_by_kind_and_forced_by_name() {
        let cut = |id| Gone { forced: true, ..gone(id, LeaseKind::Connection, 7, &[]) };
        let killed = Gone { forced: true, ..gone(8, LeaseKind::Child, 9, &[]) };
        let all = [cut(1), cut(2), gone(3, LeaseKind::Connection, 4, &[]), killed];
        let account = account(&all);
        let one = Released { kind: LeaseKind::Connection, count: 1, took_ms: 4 };
        assert_eq!(account.released, [one]);
        let forced: Vec<String> = account.forced.iter().map(ToString::to_string).collect();
        assert_eq!(forced, ["2 open connections of wiki", "child-8 of wiki"]);
    }

    proptest! {
        /// S3.5: over any graph, circles included: everything goes exactly once, and
        /// nothing before what stands on it, but for what was broken. Claims that only
        /// name older ones make no circle.
        #[test]
        fn s3_5_any_graph_is_released_in_reverse_dependency(
            edges in prop::collection::vec((0..40u64, 0..45u64), 0..120),
            size in 0..40u64,
            older_only in any::<bool>(),
        ) {
            let on = |id: u64| edges.iter().filter(move |(from, to)| {
                *from == id && (!older_only || to < from)
            });
            let nodes: Vec<Node> = (0..size)
                .map(|id| node(id, &on(id).map(|(_, to)| *to).collect::<Vec<_>>()))
                .collect();
            let order = order(&nodes);
            let mut wave_of = HashMap::new();
            for (number, wave) in order.waves.iter().enumerate() {
                prop_assert!(!wave.is_empty());
                for id in wave {
                    prop_assert!(wave_of.insert(*id, number).is_none());
                }
            }
            prop_assert_eq!(wave_of.len() as u64, size);
            for node in &nodes {
                for on in node.stands_on.iter().filter(|on| **on < size) {
                    let kept = !order.broken.contains(&(node.id, *on));
                    prop_assert!(!kept || wave_of[&node.id] < wave_of[on]);
                }
            }
            if older_only {
                prop_assert!(order.broken.is_empty());
            }
        }
    }
}
