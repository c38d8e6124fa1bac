//! Owns the verdict on a target: what proofs and failures amount to, and when to look next.
//!
//! Receives evidence (a probe's result, bytes that came back, a refused client) and what
//! happens to the session; emits the verdict, its age and the time of the next look. The
//! state can be written down and taken up again. Time is an argument.

use crate::problem::{Code, Problem};
use crate::snapshot::TargetState;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// First look at a target that is not healthy; each further one waits twice as long, up
/// to the interval.
pub const SOON: Duration = Duration::from_secs(3);
/// Refused clients count once in this time: a burst of them is one failure, not many.
pub const BURST: Duration = Duration::from_secs(1);
/// How long a fall from healthy is remembered for damping.
pub const FLAP_WINDOW: Duration = Duration::from_secs(30 * 60);
/// Falls within the window that cost nothing: a service that is restarted a few times.
pub const FREE_FALLS: usize = 3;
/// Time without a failure that the first fall too many costs; each further one doubles it.
pub const FIRST_HOLD: Duration = Duration::from_secs(30);
/// Longest time without a failure that is asked for.
pub const LONGEST_HOLD: Duration = Duration::from_secs(10 * 60);
/// Falls remembered; more would not change the hold.
const FALLS: usize = 16;

/// How a target's evidence is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between probes. A proof is fresh for twice as long.
    pub interval: Duration,
    /// Failures in a row that make a target failing; at least 1.
    pub failure_threshold: u32,
    /// Successes in a row that make a failing target healthy again; at least 1.
    pub success_threshold: u32,
    /// Whether bytes that came back are proof. They are where accepting a connection is
    /// all that is asked; a check that asks for more is not met by the bytes of an
    /// error page.
    pub traffic_counts: bool,
}

/// What happens to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A session is open: prove the target through it.
    Opened,
    /// The session is gone.
    Closed,
    /// No probes for now: draining or sleeping. The verdict is kept.
    Paused,
    /// Probes again, the first one at once.
    Resumed,
    /// A probe succeeded.
    Passed {
        /// How long it took.
        round_trip: Duration,
    },
    /// A probe failed.
    Failed {
        /// How.
        problem: Problem,
    },
    /// Bytes came back to a client.
    Answered,
    /// The target said no to a client.
    Refused {
        /// How.
        problem: Problem,
    },
    /// A person wants to know: look now, and forget how often it fell.
    Asked,
}

/// What a decision may depend on besides state and input.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// This moment.
    pub now: Timestamp,
    /// How evidence is weighed.
    pub settings: &'a Settings,
    /// A number in 0..1, drawn by the caller, so that many forwards do not probe at once.
    pub jitter: f64,
}

/// What is held of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Never proved or disproved.
    #[default]
    Unknown,
    /// Proved, and not disproved since.
    Healthy,
    /// Disproved.
    Failing {
        /// What it did.
        problem: Problem,
    },
}

/// What proved a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// A probe.
    Probe,
    /// Bytes that came back to a client.
    Traffic,
}

/// One proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// By what.
    pub means: Means,
    /// How long the probe took, in microseconds.
    pub round_trip_us: Option<u64>,
}

/// Everything known of a target, to be written down and taken up again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    #[serde(flatten)]
    verdict: Verdict,
    proof: Option<Proof>,
    checked: Option<Timestamp>,
    failures: u32,
    successes: u32,
    passing_since: Option<Timestamp>,
    falls: Vec<Timestamp>,
    due: Option<Timestamp>,
    /// Whether there is a session to prove the target through.
    #[serde(skip)]
    open: bool,
    #[serde(skip)]
    paused: bool,
    /// Whether `checked` was learnt through this session, since the last pause.
    #[serde(skip)]
    current: bool,
    /// Whether `proof` was.
    #[serde(skip)]
    vouched: bool,
}

impl Proof {
    /// How long the probe took; none for traffic.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.round_trip_us.map(Duration::from_micros)
    }
}

impl Health {
    /// The state after `input`.
    #[must_use]
    pub fn step(mut self, input: Input, on: Conditions<'_>) -> Self {
        match input {
            Input::Opened => {
                self.open = true;
                self.doubt(on.now);
            }
            Input::Closed => {
                self.open = false;
                self.doubt(on.now);
            }
            Input::Paused => {
                self.paused = true;
                self.doubt(on.now);
            }
            Input::Resumed => {
                self.paused = false;
                self.doubt(on.now);
            }
            Input::Asked => {
                self.falls.clear();
                self.due = self.looks().then_some(on.now);
            }
            // What comes late from a session that is gone, or in a pause, is no evidence.
            _ if !self.looks() => {}
            Input::Passed { round_trip } => {
                let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
                self.passed(Means::Probe, Some(micros), on);
            }
            Input::Answered if on.settings.traffic_counts => {
                self.passed(Means::Traffic, None, on);
            }
            Input::Answered => {}
            Input::Failed { problem } => self.failed(problem, on),
            Input::Refused { problem } => {
                let counted = self.current
                    && self.failures > 0
                    && self.checked.is_some_and(|at| on.now.since(at) < BURST);
                if !counted {
                    self.failed(problem, on);
                }
            }
        }
        self
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The last proof.
    #[must_use]
    pub fn proof(&self) -> Option<Proof> {
        self.proof
    }

    /// When the target was last proved or disproved.
    #[must_use]
    pub fn checked(&self) -> Option<Timestamp> {
        self.checked
    }

    /// Failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Successes in a row.
    #[must_use]
    pub fn successes(&self) -> u32 {
        self.successes
    }

    /// When to look next; none while there is no session, or in a pause.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether what is known was learnt earlier: through another session, or before a pause.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        !self.current
    }

    /// Until when the target may be shown as healthy: none unless a proof through this
    /// session, since the last pause, carries the verdict.
    #[must_use]
    pub fn fresh_until(&self, settings: &Settings) -> Option<Timestamp> {
        let proof = self.proof.filter(|_| self.vouched && self.verdict == Verdict::Healthy)?;
        Some(proof.at + settings.interval * 2)
    }

    /// Whether the target may be shown as healthy at `now`.
    #[must_use]
    pub fn is_green(&self, settings: &Settings, now: Timestamp) -> bool {
        self.fresh_until(settings).is_some_and(|until| now < until)
    }

    /// The third fact as the snapshot names it: nothing is known of a target without a
    /// session; in a pause, and until the first proof after it, the last verdict is shown,
    /// marked by [`Health::is_cached`].
    #[must_use]
    pub fn target(&self) -> TargetState {
        match &self.verdict {
            _ if !self.open && !self.paused => TargetState::Unknown,
            Verdict::Unknown => TargetState::Unknown,
            Verdict::Healthy => TargetState::Healthy,
            Verdict::Failing { .. } => TargetState::Failing,
        }
    }

    /// What is wrong with the target, when this session has shown it.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.verdict {
            Verdict::Failing { problem } if self.current => Some(problem),
            _ => None,
        }
    }

    fn looks(&self) -> bool {
        self.open && !self.paused
    }

    /// What was known is kept, but no longer vouched for.
    fn doubt(&mut self, now: Timestamp) {
        self.current = false;
        self.vouched = false;
        self.due = self.looks().then_some(now);
    }

    fn passed(&mut self, means: Means, round_trip_us: Option<u64>, on: Conditions<'_>) {
        let Conditions { now, settings, .. } = on;
        self.proof = Some(Proof { at: now, means, round_trip_us });
        (self.checked, self.current, self.vouched) = (Some(now), true, true);
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let since = *self.passing_since.get_or_insert(now);
        let pause = match &self.verdict {
            Verdict::Unknown | Verdict::Healthy => {
                self.verdict = Verdict::Healthy;
                settings.interval
            }
            Verdict::Failing { .. } if self.successes < settings.success_threshold => {
                SOON.min(settings.interval)
            }
            Verdict::Failing { .. } => match self.hold(now).checked_sub(now.since(since)) {
                None | Some(Duration::ZERO) => {
                    self.verdict = Verdict::Healthy;
                    settings.interval
                }
                Some(rest) => {
                    self.verdict = Verdict::Failing { problem: flapping(self.falls.len(), rest) };
                    rest.min(settings.interval)
                }
            },
        };
        self.due = Some(later(pause, on));
    }

    fn failed(&mut self, problem: Problem, on: Conditions<'_>) {
        let Conditions { now, settings, .. } = on;
        (self.checked, self.current) = (Some(now), true);
        (self.successes, self.passing_since) = (0, None);
        self.failures = self.failures.saturating_add(1);
        let falls = self.failures >= settings.failure_threshold;
        match &self.verdict {
            Verdict::Healthy if falls => {
                self.remember_fall(now);
                self.verdict = Verdict::Failing { problem };
            }
            Verdict::Unknown if falls => self.verdict = Verdict::Failing { problem },
            Verdict::Failing { .. } => self.verdict = Verdict::Failing { problem },
            Verdict::Unknown | Verdict::Healthy => {}
        }
        let pause = match &self.verdict {
            Verdict::Healthy if self.vouched => settings.interval,
            _ => {
                let doublings = self.failures.saturating_sub(1).min(16);
                (SOON * 2_u32.pow(doublings)).min(settings.interval)
            }
        };
        self.due = Some(later(pause, on));
    }

    fn remember_fall(&mut self, now: Timestamp) {
        self.falls.retain(|fall| now.since(*fall) < FLAP_WINDOW);
        if self.falls.len() == FALLS {
            self.falls.remove(0);
        }
        self.falls.push(now);
    }

    /// Time without a failure that the falls of late ask for.
    fn hold(&self, now: Timestamp) -> Duration {
        let falls = self.falls.iter().filter(|fall| now.since(**fall) < FLAP_WINDOW).count();
        match falls.checked_sub(FREE_FALLS + 1) {
            None => Duration::ZERO,
            Some(extra) => {
                let doublings = u32::try_from(extra).unwrap_or(u32::MAX).min(8);
                (FIRST_HOLD * 2_u32.pow(doublings)).min(LONGEST_HOLD)
            }
        }
    }
}

/// `pause` from now, a tenth more or less.
fn later(pause: Duration, on: Conditions<'_>) -> Timestamp {
    on.now + pause.mul_f64(0.9 + 0.2 * on.jitter.clamp(0.0, 1.0))
}

fn flapping(falls: usize, rest: Duration) -> Problem {
    let (minutes, seconds) = (FLAP_WINDOW.as_secs() / 60, rest.as_secs().max(1));
    Problem::new(
        Code::TargetFlapping,
        format!(
            "The target answers again, but failed `{falls}` times within `{minutes}` minutes; \
             it counts as healthy after `{seconds}` s more without a failure"
        ),
        "Look at the service's own log for why it comes and goes; `localport restart` forgets \
         the failures",
    )
}
