//! Owns `restart_policy`: what a map of it says, laid over what holds by default.

use super::RestartPolicy;
use super::cx::Cx;
use super::fields::Fields;
use std::time::Duration;

/// What a map says, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RestartPart {
    enabled: Option<bool>,
    max_attempts: Option<u32>,
    initial_delay: Option<Duration>,
    backoff_multiplier: Option<f64>,
    max_delay: Option<Duration>,
}

impl RestartPart {
    pub(super) fn read(cx: &mut Cx<'_>, mut fields: Fields) -> Self {
        let part = Self {
            enabled: fields.switch(cx, "enabled").ok(),
            max_attempts: fields.count(cx, "max_attempts", 1..=100).ok(),
            initial_delay: fields.duration(cx, "initial_delay", 1.0..=3600.0).ok(),
            backoff_multiplier: fields.number(cx, "backoff_multiplier", 1.0..=10.0).ok(),
            max_delay: fields.duration(cx, "max_delay", 1.0..=86400.0).ok(),
        };
        fields.finish(cx, &[("max_retries", "max_attempts"), ("multiplier", "backoff_multiplier")]);
        part
    }

    /// This, and `below` where this says nothing.
    pub(super) fn over(self, below: &Self) -> Self {
        Self {
            enabled: self.enabled.or(below.enabled),
            max_attempts: self.max_attempts.or(below.max_attempts),
            initial_delay: self.initial_delay.or(below.initial_delay),
            backoff_multiplier: self.backoff_multiplier.or(below.backoff_multiplier),
            max_delay: self.max_delay.or(below.max_delay),
        }
    }

    /// The policy; none when nothing is said, and what is not said is patient.
    pub(super) fn build(self) -> Option<RestartPolicy> {
        if self == Self::default() {
            return None;
        }
        let patient = RestartPolicy::PATIENT;
        let initial_delay = self.initial_delay.unwrap_or(patient.initial_delay);
        Some(RestartPolicy {
            enabled: self.enabled.unwrap_or(patient.enabled),
            max_attempts: self.max_attempts.or(patient.max_attempts),
            initial_delay,
            backoff_multiplier: self.backoff_multiplier.unwrap_or(patient.backoff_multiplier),
            max_delay: self.max_delay.unwrap_or(patient.max_delay).max(initial_delay),
        })
    }
}
