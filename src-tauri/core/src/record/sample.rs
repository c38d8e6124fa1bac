//! Owns samples of round trip and traffic, and how fine ones become coarse ones.

use crate::snapshot::{Bytes, Forward, Snapshot};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one sample is, and how long such samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grain {
    /// The length of one.
    pub length: Duration,
    /// How long they are kept.
    pub kept: Duration,
}

/// What happens now: a quarter of an hour in 90 samples.
pub const FINE: Grain =
    Grain { length: Duration::from_secs(10), kept: Duration::from_secs(15 * 60) };
/// What happened of late: a day in 288 samples.
pub const COARSE: Grain =
    Grain { length: Duration::from_secs(5 * 60), kept: Duration::from_secs(24 * 60 * 60) };

/// Round trips and traffic of a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Sample {
    /// When the while began; a multiple of its length.
    pub at: Timestamp,
    /// Round trips measured in it.
    pub measured: u32,
    /// Their mean, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The longest of them, in milliseconds.
    pub rtt_max_ms: Option<f64>,
    /// Bytes from clients to the target.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub up: u64,
    /// Bytes from the target to clients.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub down: u64,
}

impl Grain {
    /// The beginning of the while that `at` lies in.
    #[must_use]
    pub fn floor(self, at: Timestamp) -> Timestamp {
        let length = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX).max(1);
        Timestamp(at.0 - at.0 % length)
    }

    /// What begins before this moment is not kept any more.
    #[must_use]
    pub fn horizon(self, now: Timestamp) -> Timestamp {
        self.floor(now - self.kept)
    }
}

impl Sample {
    /// Both in one, at the earlier one's time.
    #[must_use]
    pub fn and(self, other: Sample) -> Sample {
        let measured = self.measured.saturating_add(other.measured);
        let sum = self.sum() + other.sum();
        let longest = [self.rtt_max_ms, other.rtt_max_ms].into_iter().flatten().reduce(f64::max);
        Sample {
            at: self.at.min(other.at),
            measured,
            rtt_ms: (measured > 0).then(|| sum / f64::from(measured)),
            rtt_max_ms: longest,
            up: self.up.saturating_add(other.up),
            down: self.down.saturating_add(other.down),
        }
    }

    fn sum(&self) -> f64 {
        self.rtt_ms.unwrap_or(0.0) * f64::from(self.measured)
    }
}

/// `samples` in whiles of `grain`, oldest first.
#[must_use]
pub fn fold(samples: &[Sample], grain: Grain) -> Vec<Sample> {
    let mut whiles: BTreeMap<Timestamp, Sample> = BTreeMap::new();
    for sample in samples {
        let at = grain.floor(sample.at);
        let sample = Sample { at, ..*sample };
        whiles.entry(at).and_modify(|sum| *sum = sum.and(sample)).or_insert(sample);
    }
    whiles.into_values().collect()
}

/// Turns snapshots into samples of the finest grain.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    bytes: Bytes,
    measured: Option<Timestamp>,
}

impl Sampler {
    /// What happened since the last look, by forward; nothing of those that were idle.
    pub fn look(&mut self, snapshot: &Snapshot) -> Vec<(String, Sample)> {
        let at = FINE.floor(snapshot.at);
        let mut samples = vec![];
        for forward in &snapshot.forwards {
            let seen = self.seen.entry(forward.name.clone()).or_default();
            let sample = seen.since(forward, at);
            *seen = Seen { bytes: forward.bytes, measured: forward.tunnel.measured };
            if sample.measured > 0 || sample.up > 0 || sample.down > 0 {
                samples.push((forward.name.clone(), sample));
            }
        }
        self.seen.retain(|name, _| snapshot.forwards.iter().any(|it| it.name == *name));
        samples
    }
}

impl Seen {
    fn since(&self, forward: &Forward, at: Timestamp) -> Sample {
        let tunnel = &forward.tunnel;
        let fresh = tunnel.measured.is_some() && tunnel.measured != self.measured;
        let rtt_ms = tunnel.rtt_ms.filter(|_| fresh);
        // A forward that was added anew under its name counts from zero.
        let more = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Sample {
            at,
            measured: u32::from(rtt_ms.is_some()),
            rtt_ms,
            rtt_max_ms: rtt_ms,
            up: more(forward.bytes.up, self.bytes.up),
            down: more(forward.bytes.down, self.bytes.down),
        }
    }
}
