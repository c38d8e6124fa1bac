//! Owns how long to wait before the next attempt.

use crate::config::RestartPolicy;
use std::time::Duration;

/// Delay before attempt `attempt` (1 is the first retry): `initial × multiplier^(attempt−1)`,
/// at most `max_delay`, shortened by up to a fifth so that many forwards of one
/// lost host do not come back in the same instant.
///
/// `jitter` is a number in 0..1 that the caller draws.
#[must_use]
pub fn delay(policy: &RestartPolicy, attempt: u32, jitter: f64) -> Duration {
    let exponent = f64::from(attempt.saturating_sub(1).min(64));
    let raw = policy.initial_delay.as_secs_f64() * policy.backoff_multiplier.powf(exponent);
    let capped = raw.min(policy.max_delay.as_secs_f64());
    Duration::from_secs_f64(capped * (1.0 - 0.2 * jitter.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_stays() {
        let policy = RestartPolicy {
            enabled: true,
            max_attempts: None,
            initial_delay: Duration::from_secs(1),
            backoff_multiplier: 2.0,
            max_delay: Duration::from_secs(10),
        };
        let seconds: Vec<u64> = (1..=6).map(|n| delay(&policy, n, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
        assert_eq!(delay(&policy, u32::MAX, 0.0), Duration::from_secs(10));
        assert_eq!(delay(&policy, 1, 1.0), Duration::from_millis(800));
    }
}
