//! Owns which tunnel to a pod a new connection takes.
//!
//! A tunnel has no flow control of its own, so whoever shares one shares its fate: a
//! new connection gets an idle tunnel for itself while there is one, and shares only
//! under pressure, while another one opens.

/// How many tunnels and streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Streams that share a tunnel while more tunnels can be had.
    pub share: usize,
    /// Streams on a tunnel at most.
    pub streams: usize,
    /// Tunnels to one pod.
    pub tunnels: usize,
    /// Tunnels being opened at one time.
    pub opening: usize,
}

impl Default for PoolLimits {
    /// 16 share; a node keeps a goroutine per stream and a tunnel 200 of them at most;
    /// 16 tunnels and one being opened, so that a burst costs no burst of handshakes.
    fn default() -> Self {
        Self { share: 16, streams: 200, tunnels: 16, opening: 1 }
    }
}

/// A tunnel as the choice sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelView {
    /// Which one.
    pub id: u64,
    /// Connections that hold it.
    pub streams: usize,
    /// Whether a new stream would wait behind another.
    pub stalled: bool,
    /// Whether it takes no more.
    pub retired: bool,
    /// Whether it is held for a port that has not proved to accept.
    pub exclusive: bool,
}

/// What a new connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Takes this tunnel, which nobody else holds.
    Lease(u64),
    /// Takes this one, which others hold too.
    Share {
        /// Which one.
        id: u64,
        /// Whether another one should be opened meanwhile.
        open: bool,
    },
    /// Has a tunnel opened and waits for it.
    Open,
    /// Waits: for one being opened, or for one to be given back.
    Wait,
}

/// What a new connection does, given all `tunnels` and how many are being opened. To a
/// port that has not lately `proved` to accept it goes alone: a refusal there can wedge
/// the tunnel for everybody on it.
#[must_use]
pub fn pick(tunnels: &[TunnelView], opening: usize, proved: bool, limits: PoolLimits) -> Pick {
    let usable = || tunnels.iter().filter(|t| !t.stalled && !t.retired && !t.exclusive);
    let may_open = opening < limits.opening
        && tunnels.iter().filter(|t| !t.retired).count() + opening < limits.tunnels;
    // The latest one: the others fall idle, and end.
    if let Some(idle) = usable().filter(|t| t.streams == 0).max_by_key(|t| t.id) {
        return Pick::Lease(idle.id);
    }
    let least = usable().min_by_key(|t| (t.streams, t.id)).filter(|_| proved);
    match least {
        Some(tunnel) if tunnel.streams < limits.share => {
            Pick::Share { id: tunnel.id, open: may_open }
        }
        _ if may_open => Pick::Open,
        _ if opening > 0 => Pick::Wait,
        Some(tunnel) if tunnel.streams < limits.streams => {
            Pick::Share { id: tunnel.id, open: false }
        }
        _ => Pick::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PoolLimits = PoolLimits { share: 2, streams: 4, tunnels: 3, opening: 1 };

    fn tunnel(id: u64, streams: usize) -> TunnelView {
        TunnelView { id, streams, stalled: false, retired: false, exclusive: false }
    }

    #[test]
    fn s7_2_idle_first_then_shared_while_another_opens() {
        let stalled = |id| TunnelView { stalled: true, ..tunnel(id, 0) };
        let retired = |id| TunnelView { retired: true, ..tunnel(id, 0) };
        let exclusive = |id| TunnelView { exclusive: true, ..tunnel(id, 1) };
        let share = |id, open| Pick::Share { id, open };
        let table: Vec<(&str, Vec<TunnelView>, usize, bool, Pick)> = vec![
            ("none yet", vec![], 0, true, Pick::Open),
            ("one is on its way", vec![], 1, true, Pick::Wait),
            ("the latest idle one", vec![tunnel(1, 0), tunnel(2, 0)], 0, true, Pick::Lease(2)),
            ("idle, unproved", vec![tunnel(1, 0)], 0, false, Pick::Lease(1)),
            ("under pressure", vec![tunnel(1, 1)], 0, true, share(1, true)),
            ("while one opens", vec![tunnel(1, 1)], 1, true, share(1, false)),
            ("the least loaded", vec![tunnel(1, 2), tunnel(2, 1)], 0, true, share(2, true)),
            ("unproved never shares", vec![tunnel(1, 1)], 0, false, Pick::Open),
            ("unproved waits", vec![tunnel(1, 1)], 1, false, Pick::Wait),
            ("never with the unproved", vec![exclusive(1)], 0, true, Pick::Open),
            ("never a stalled one", vec![stalled(1)], 0, true, Pick::Open),
            ("never a retired one", vec![retired(1)], 0, true, Pick::Open),
            ("full ones open another", vec![tunnel(1, 2)], 0, true, Pick::Open),
            (
                "all full: beyond the share",
                vec![tunnel(1, 3), tunnel(2, 2), tunnel(3, 3)],
                0,
                true,
                share(2, false),
            ),
            ("nothing left", vec![tunnel(1, 4), tunnel(2, 4), stalled(3)], 0, true, Pick::Wait),
            (
                "a retired one makes room",
                vec![retired(1), tunnel(2, 2), tunnel(3, 2)],
                0,
                true,
                Pick::Open,
            ),
        ];
        for (what, tunnels, opening, proved, expected) in table {
            assert_eq!(pick(&tunnels, opening, proved, LIMITS), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn s7_2_no_choice_breaks_a_rule(
            flags in proptest::collection::vec((0_usize..6, any::<[bool; 3]>()), 0..5),
            opening in 0_usize..2,
            proved: bool,
        ) {
            let tunnels: Vec<TunnelView> = flags.iter().zip(0..).map(|((streams, [a, b, c]), id)| {
                TunnelView { id, streams: *streams, stalled: *a, retired: *b, exclusive: *c }
            }).collect();
            let usable = |id: u64| tunnels.iter()
                .find(|t| t.id == id && !t.stalled && !t.retired && !t.exclusive).copied();
            let live = tunnels.iter().filter(|t| !t.retired).count();
            match pick(&tunnels, opening, proved, LIMITS) {
                Pick::Lease(id) => prop_assert_eq!(usable(id).map(|t| t.streams), Some(0)),
                Pick::Share { id, open } => {
                    prop_assert!(proved);
                    prop_assert!(usable(id).is_some_and(|t| t.streams < LIMITS.streams));
                    prop_assert!(!open || (opening == 0 && live < LIMITS.tunnels));
                }
                Pick::Open => prop_assert!(opening == 0 && live < LIMITS.tunnels),
                // Nobody waits for nothing.
                Pick::Wait => prop_assert!(
                    opening > 0 || live + opening >= LIMITS.tunnels
                ),
            }
        }
    }
}
