//! Owns the chance of the chaos: numbers that look random and are the same each time.

/// A seed and what follows from it. It says itself when its test fails.
pub(crate) struct Seeded {
    seed: u64,
    state: u64,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// A number below `limit` (splitmix64).
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// One of `all`.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with LOCALPORT_CHAOS_SEED={} LOCALPORT_CHAOS_RUNS=1", self.seed);
        }
    }
}

/// The seeds of one case.
pub(crate) fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("LOCALPORT_CHAOS_SEED").unwrap_or(1);
    first..first + number("LOCALPORT_CHAOS_RUNS").unwrap_or(1)
}
