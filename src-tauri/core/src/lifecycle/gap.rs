//! Owns the rule by which clocks tell that the machine slept, wherever nobody says so.
//!
//! Receives two readings of the clocks; emits how long the machine slept between them.

use std::time::Duration;

/// The shortest gap that counts. A session outlives anything shorter, and a scheduler
/// under load or a clock being set right makes gaps of seconds.
pub const GAP: Duration = Duration::from_secs(10);

/// What the clocks show at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Time that does not pass while the machine sleeps.
    pub awake: Duration,
    /// Time since the start that passes in sleep too, where the system has such a clock.
    pub since_boot: Option<Duration>,
    /// Time of day, since the Unix epoch. People and network time may set it.
    pub wall: Duration,
}

impl Reading {
    /// How long the machine slept or was halted since `earlier`, if it did.
    ///
    /// The clock since the start is exact. The time of day also jumps when a virtual
    /// machine was halted, which stops all other clocks; should a person have set it, a
    /// wake too many costs one round trip per session. A clock that is set back tells
    /// nothing.
    #[must_use]
    pub fn slept_since(&self, earlier: &Reading) -> Option<Duration> {
        let awake = self.awake.saturating_sub(earlier.awake);
        let boot = match (self.since_boot, earlier.since_boot) {
            (Some(now), Some(then)) => now.saturating_sub(then).saturating_sub(awake),
            _ => Duration::ZERO,
        };
        let wall = self.wall.saturating_sub(earlier.wall).saturating_sub(awake);
        let slept = if boot >= GAP { boot } else { wall };
        (slept >= GAP).then_some(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHT: u64 = 8 * 3600;

    fn reading(awake: u64, since_boot: Option<u64>, wall: u64) -> Reading {
        let seconds = Duration::from_secs;
        Reading {
            awake: seconds(1_000 + awake),
            since_boot: since_boot.map(|boot| seconds(5_000 + boot)),
            wall: seconds(1_700_000_000 + wall),
        }
    }

    /// G2: what follows from which clocks; each row is what passed between two readings.
    #[test]
    fn g2_the_clocks_tell_a_sleep() {
        let table = [
            ("nothing happened", (1, Some(1), 1), None),
            ("an hour without a look", (3600, Some(3600), 3600), None),
            ("a night", (5, Some(NIGHT + 5), NIGHT + 5), Some(NIGHT)),
            ("a night, clock set back meanwhile", (5, Some(NIGHT + 5), 5), Some(NIGHT)),
            ("a night, without a clock since the start", (5, None, NIGHT + 5), Some(NIGHT)),
            ("a nap that no session notices", (1, Some(10), 10), None),
            ("just long enough", (1, Some(11), 11), Some(10)),
            ("a virtual machine was halted", (1, Some(1), 61), Some(60)),
            ("network time set the clock by 9 s", (1, Some(1), 10), None),
            ("the clock was set back by a day", (1, Some(1), 0), None),
        ];
        for (what, (awake, boot, wall), slept) in table {
            let before = reading(0, boot.map(|_| 0), 0);
            let after = reading(awake, boot, wall);
            assert_eq!(after.slept_since(&before), slept.map(Duration::from_secs), "{what}");
        }
        let (later, earlier) = (reading(9, Some(9), 9), reading(0, Some(0), 0));
        assert_eq!(earlier.slept_since(&later), None, "readings the wrong way round");
    }
}
