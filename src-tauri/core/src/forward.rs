//! Owns a forward's state machine: what to do next, decided without doing it.
//!
//! Receives inputs (a person's wish, a session's fate, proof of the target), emits
//! the next state and the outputs that the supervisor performs. Each attempt at a
//! session has a generation; what an older generation reports is dropped.

use crate::backoff;
use crate::config::RestartPolicy;
use crate::problem::{Code, Problem, Remedy};
use crate::snapshot::{ForwardState, TunnelState};
use crate::time::Timestamp;
use std::time::Duration;

/// How long to wait before trying again what a person has to mend: long enough to
/// spare a host that counts failed logins, short enough to notice the mending.
pub const PERSON_RETRY: Duration = Duration::from_secs(60);

/// How long a client that is held waits for the next attempt at most: a person sits
/// before it, while a backoff of up to 15 s is meant for forwards that nobody uses.
pub const EAGER: Duration = Duration::from_secs(1);

/// Where a forward is in its life. A variant holds only what is true in it.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Switched off; nothing is held.
    Stopped {
        /// The last attempt's number, so that the next start outnumbers it.
        attempt: Attempt,
    },
    /// A session is being opened.
    Starting {
        /// This attempt.
        attempt: Attempt,
        /// Why the attempt before failed, if one failed.
        last: Option<Problem>,
    },
    /// A session is up and nothing speaks against the target.
    Running {
        /// The attempt that led here.
        attempt: Attempt,
    },
    /// A session is up, but the target fails.
    Degraded {
        /// The attempt that led here.
        attempt: Attempt,
        /// What the target did.
        problem: Problem,
    },
    /// No session; the next attempt is due at `until`.
    BackingOff {
        /// The attempt that failed.
        attempt: Attempt,
        /// When the next one is due.
        until: Timestamp,
        /// Why it failed.
        problem: Problem,
    },
    /// No session, and a person has to act.
    Failed {
        /// The attempt that failed.
        attempt: Attempt,
        /// When it is tried again all the same; never, when the restart policy ended it.
        until: Option<Timestamp>,
        /// Why it failed.
        problem: Problem,
    },
    /// The machine sleeps: no session, and none is tried until it wakes.
    Asleep {
        /// The last attempt.
        attempt: Attempt,
        /// Why it failed, if it failed.
        problem: Option<Problem>,
    },
    /// The listener is closed and open connections finish. Switched on again meanwhile,
    /// it listens at once and the open connections go on.
    Stopping {
        /// The last attempt.
        attempt: Attempt,
    },
}

/// The number of an attempt, and how many went by without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// Rises with every attempt of the forward's life.
    pub generation: u64,
    /// Attempts that ended since the target was last proved.
    pub unproved: u32,
    /// Those of them that count against `max_attempts`.
    pub spent: u32,
}

/// What can happen to a forward.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Switch on.
    Start,
    /// Switch off.
    Stop,
    /// New session, same listener.
    Restart,
    /// Whatever waits is due now: a person's click.
    RetryNow,
    /// The machine is about to sleep.
    Suspend,
    /// The machine slept: nothing of before can be trusted.
    Wake,
    /// Addresses, routes or the default network changed.
    NetworkChanged,
    /// The time an output asked for has come.
    Due,
    /// A client is held.
    Wanted,
    /// The attempt led to a session.
    Opened {
        /// Whose it is.
        generation: u64,
    },
    /// The attempt failed.
    OpenFailed {
        /// Whose it is.
        generation: u64,
        /// Why.
        problem: Problem,
    },
    /// The session ended by itself.
    Lost {
        /// Whose it is.
        generation: u64,
        /// Why.
        problem: Problem,
    },
    /// The session did not answer soon enough after a sleep or a change of the network.
    Stale {
        /// Whose it is.
        generation: u64,
        /// What it did.
        problem: Problem,
    },
    /// The target was proved through the session.
    Proved {
        /// Whose it is.
        generation: u64,
    },
    /// The target refused or did not answer.
    Disproved {
        /// Whose it is.
        generation: u64,
        /// What it did.
        problem: Problem,
    },
    /// Listener and connections are gone.
    Drained,
}

/// What the supervisor has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Bind the local port and accept.
    Listen,
    /// Open a session with this generation, abandoning any older attempt.
    Open {
        /// The attempt's number.
        generation: u64,
    },
    /// Drop the session, or the attempt at one.
    Close,
    /// Close the listener, let open connections finish, then report `Drained`.
    Drain,
    /// Report `Due` at this time; replaces an earlier wish.
    WakeAt(Timestamp),
    /// Forget the time of an earlier wish, and wait for no mending.
    Rest,
    /// Ask nothing of the session until further notice.
    Quiet,
    /// Have the session prove itself at once, with a short deadline.
    Prove,
}

/// What a decision may depend on besides state and input.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// This moment.
    pub now: Timestamp,
    /// When to give up and how long to wait.
    pub policy: &'a RestartPolicy,
    /// A number in 0..1, drawn by the caller.
    pub jitter: f64,
    /// Whether attempts are spared while the whole cluster or host is away.
    pub cluster_aware: bool,
}

impl Attempt {
    /// The same number, with nothing spent.
    fn fresh(self) -> Self {
        Self { unproved: 0, spent: 0, ..self }
    }
}

impl Default for State {
    fn default() -> Self {
        State::Stopped { attempt: Attempt::default() }
    }
}

/// The next state and what to do, for `input` in `state`.
#[must_use]
pub fn step(state: State, input: Input, on: Conditions<'_>) -> (State, Vec<Output>) {
    use State::{Asleep, BackingOff, Degraded, Failed, Running, Starting, Stopped, Stopping};

    let attempt = state.attempt();
    match (state, input) {
        // A person's wishes.
        (Stopped { .. } | Stopping { .. }, Input::Start) | (Stopping { .. }, Input::Restart) => {
            let fresh = attempt.fresh();
            let (state, mut outputs) = open(fresh, None);
            outputs.insert(0, Output::Listen);
            (state, outputs)
        }
        (state @ (Stopped { .. } | Stopping { .. }), Input::Stop) => (state, vec![]),
        (_, Input::Stop) => (Stopping { attempt }, vec![Output::Drain]),
        (Stopping { .. }, Input::Drained) => (Stopped { attempt }, vec![Output::Close]),
        (Starting { .. } | Running { .. } | Degraded { .. }, Input::Restart)
        | (BackingOff { .. } | Failed { .. } | Asleep { .. }, Input::Restart) => {
            let (state, mut outputs) = open(attempt.fresh(), None);
            outputs.insert(0, Output::Close);
            (state, outputs)
        }

        // Waiting for the next attempt. A person's click and a start of what waits
        // spend no attempt of the restart policy.
        // Attempts that are counted are not spent faster for it.
        (BackingOff { until, problem, .. }, Input::Wanted) if on.policy.max_attempts.is_none() => {
            let until = until.min(on.now + EAGER);
            (BackingOff { attempt, until, problem }, vec![Output::WakeAt(until)])
        }
        (BackingOff { problem, .. }, Input::Due) => open(attempt, Some(problem)),
        (Failed { problem, until: Some(_), .. }, Input::Due) => open(attempt, Some(problem)),
        (BackingOff { problem, .. } | Failed { problem, .. }, Input::RetryNow | Input::Start) => {
            open(attempt.fresh(), Some(problem))
        }

        // Sleep costs nothing: no timer runs, the listener and open connections stay.
        (Starting { last: problem, .. }, Input::Suspend) => {
            (Asleep { attempt, problem }, vec![Output::Close, Output::Rest])
        }
        (BackingOff { problem, .. } | Failed { problem, until: Some(_), .. }, Input::Suspend) => {
            (Asleep { attempt, problem: Some(problem) }, vec![Output::Rest])
        }
        (state @ (Running { .. } | Degraded { .. }), Input::Suspend) => {
            (state, vec![Output::Quiet])
        }
        (Asleep { problem, .. }, Input::Wake | Input::RetryNow | Input::Start) => {
            open(attempt.fresh(), problem)
        }
        // An attempt from before the sleep waits for an answer that nobody sends.
        (Starting { last, .. }, Input::Wake) => open(attempt, last),
        (BackingOff { problem, .. } | Failed { problem, until: Some(_), .. }, Input::Wake) => {
            open(attempt.fresh(), Some(problem))
        }
        // What a person has to mend no network mends, and a host may count failed logins.
        (BackingOff { problem, .. }, Input::NetworkChanged) => open(attempt.fresh(), Some(problem)),
        (state @ (Running { .. } | Degraded { .. }), Input::Wake | Input::NetworkChanged) => {
            (state, vec![Output::Prove])
        }

        // What an older attempt reports is history.
        (state, input) if input.generation().is_some_and(|g| g != attempt.generation) => {
            (state, vec![])
        }

        // A session's fate.
        (Starting { .. }, Input::Opened { .. }) => (Running { attempt }, vec![]),
        (Starting { .. }, Input::OpenFailed { problem, .. }) => failed(attempt, problem, on),
        (Running { .. } | Degraded { .. }, Input::Lost { problem, .. }) => {
            let (state, mut outputs) = failed(attempt, problem, on);
            outputs.insert(0, Output::Close);
            (state, outputs)
        }

        // Suspected once per wake or change, so that trying again at once is no storm.
        (Running { .. } | Degraded { .. }, Input::Stale { problem, .. }) => {
            let (state, mut outputs) = open(attempt, Some(problem));
            outputs.insert(0, Output::Close);
            (state, outputs)
        }

        // The target: only proof resets the count of attempts.
        (Running { .. } | Degraded { .. }, Input::Proved { .. }) => {
            (Running { attempt: attempt.fresh() }, vec![])
        }
        (Running { .. } | Degraded { .. }, Input::Disproved { problem, .. }) => {
            (Degraded { attempt, problem }, vec![])
        }

        (state, _) => (state, vec![]),
    }
}

fn open(attempt: Attempt, last: Option<Problem>) -> (State, Vec<Output>) {
    let attempt = Attempt { generation: attempt.generation + 1, ..attempt };
    let outputs = vec![Output::Open { generation: attempt.generation }];
    (State::Starting { attempt, last }, outputs)
}

fn failed(attempt: Attempt, problem: Problem, on: Conditions<'_>) -> (State, Vec<Output>) {
    let spared = on.cluster_aware && problem.code.is_outage();
    let attempt = Attempt {
        unproved: attempt.unproved.saturating_add(1),
        spent: attempt.spent.saturating_add(u32::from(!spared)),
        ..attempt
    };
    if let Some(problem) = policy_ends(attempt, &problem, on.policy) {
        return (State::Failed { attempt, until: None, problem }, vec![]);
    }
    match problem.code.remedy() {
        Remedy::Person => {
            let until = on.now + PERSON_RETRY;
            let state = State::Failed { attempt, until: Some(until), problem };
            (state, vec![Output::WakeAt(until)])
        }
        Remedy::Retry => {
            let until = on.now + backoff::delay(on.policy, attempt.unproved, on.jitter);
            (State::BackingOff { attempt, until, problem }, vec![Output::WakeAt(until)])
        }
    }
}

fn policy_ends(attempt: Attempt, problem: &Problem, policy: &RestartPolicy) -> Option<Problem> {
    let hint = "Mend the cause, then switch the forward on again with `localport restart`";
    if !policy.enabled {
        let sentence = format!("{}; `restart_policy` is switched off", problem.sentence);
        return Some(Problem::new(Code::AttemptsUsedUp, sentence, hint));
    }
    let limit = policy.max_attempts?;
    (attempt.spent > limit).then(|| {
        let sentence = format!("{}; all `{limit}` attempts are used up", problem.sentence);
        Problem::new(Code::AttemptsUsedUp, sentence, hint)
    })
}

impl State {
    /// The last attempt's number and count.
    #[must_use]
    pub fn attempt(&self) -> Attempt {
        match self {
            State::Stopped { attempt }
            | State::Starting { attempt, .. }
            | State::Running { attempt }
            | State::Degraded { attempt, .. }
            | State::BackingOff { attempt, .. }
            | State::Failed { attempt, .. }
            | State::Asleep { attempt, .. }
            | State::Stopping { attempt } => *attempt,
        }
    }

    /// Whether the forward is switched on, or will be.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !matches!(self, State::Stopped { .. } | State::Stopping { .. })
    }

    /// What is wrong, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            State::Starting { last, .. } => last.as_ref(),
            State::Asleep { problem, .. } => problem.as_ref(),
            State::Degraded { problem, .. }
            | State::BackingOff { problem, .. }
            | State::Failed { problem, .. } => Some(problem),
            State::Stopped { .. } | State::Running { .. } | State::Stopping { .. } => None,
        }
    }

    /// When the next attempt is due.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        match self {
            State::BackingOff { until, .. } => Some(*until),
            State::Failed { until, .. } => *until,
            _ => None,
        }
    }

    /// The state as the snapshot names it. An attempt that follows a failure still
    /// counts as backing off, so that what people see does not flicker.
    #[must_use]
    pub fn name(&self) -> ForwardState {
        match self {
            State::Stopped { .. } => ForwardState::Stopped,
            State::Starting { last: None, .. } | State::Asleep { problem: None, .. } => {
                ForwardState::Starting
            }
            State::Starting { last: Some(problem), .. }
            | State::Asleep { problem: Some(problem), .. } => match problem.code.remedy() {
                Remedy::Person => ForwardState::Failed,
                Remedy::Retry => ForwardState::BackingOff,
            },
            State::Running { .. } => ForwardState::Running,
            State::Degraded { .. } => ForwardState::Degraded,
            State::BackingOff { .. } => ForwardState::BackingOff,
            State::Failed { .. } => ForwardState::Failed,
            State::Stopping { .. } => ForwardState::Stopping,
        }
    }

    /// The second fact as the snapshot names it.
    #[must_use]
    pub fn tunnel(&self) -> TunnelState {
        match self {
            State::Stopped { .. } => TunnelState::Off,
            State::Starting { .. } => TunnelState::Connecting,
            State::Running { .. } | State::Degraded { .. } => TunnelState::Up,
            State::BackingOff { .. } | State::Failed { .. } | State::Asleep { .. } => {
                TunnelState::Down
            }
            State::Stopping { .. } => TunnelState::Off,
        }
    }
}

impl Input {
    fn generation(&self) -> Option<u64> {
        match self {
            Input::Opened { generation }
            | Input::OpenFailed { generation, .. }
            | Input::Lost { generation, .. }
            | Input::Stale { generation, .. }
            | Input::Proved { generation }
            | Input::Disproved { generation, .. } => Some(*generation),
            Input::Start
            | Input::Stop
            | Input::Restart
            | Input::RetryNow
            | Input::Suspend
            | Input::Wake
            | Input::NetworkChanged
            | Input::Due
            | Input::Wanted
            | Input::Drained => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn away() -> Problem {
        Problem::new(Code::SshUnreachable, "`bastion` does not answer", "Check the VPN")
    }

    fn refused() -> Problem {
        Problem::new(Code::SshAuthRefused, "`bastion` refused every key", "Add the key")
    }

    fn on(policy: &RestartPolicy) -> Conditions<'_> {
        Conditions { now: NOW, policy, jitter: 0.0, cluster_aware: false }
    }

    fn run(inputs: impl IntoIterator<Item = Input>) -> (State, Vec<Output>) {
        inputs.into_iter().fold((State::default(), vec![]), |(state, _), input| {
            step(state, input, on(&RestartPolicy::PATIENT))
        })
    }

    #[test]
    fn switching_on_listens_before_it_opens() {
        let (state, outputs) = run([Input::Start]);
        assert_eq!(outputs, [Output::Listen, Output::Open { generation: 1 }]);
        assert_eq!(state.name(), ForwardState::Starting);
    }

    /// S5.2, G2: what a sleep, a wake and a change of the network mean in every state.
    #[test]
    fn s5_2_a_sleep_rests_and_a_wake_makes_everything_due() {
        let attempt = Attempt { generation: 7, unproved: 3, spent: 3 };
        let fresh = Attempt { generation: 8, unproved: 0, spent: 0 };
        let later = NOW + Duration::from_secs(9);
        let starting = |last| State::Starting { attempt, last };
        let waiting = |problem| State::BackingOff { attempt, until: later, problem };
        let failed = |until| State::Failed { attempt, until, problem: refused() };
        let asleep = |problem| State::Asleep { attempt, problem };
        let opening = |attempt: Attempt, last| State::Starting { attempt, last };
        let running = State::Running { attempt };
        let degraded = State::Degraded { attempt, problem: away() };
        let open = || vec![Output::Open { generation: 8 }];
        let again = Attempt { generation: 8, unproved: 3, spent: 3 };
        let table = [
            (starting(None), Input::Suspend, asleep(None), vec![Output::Close, Output::Rest]),
            (waiting(away()), Input::Suspend, asleep(Some(away())), vec![Output::Rest]),
            (failed(Some(later)), Input::Suspend, asleep(Some(refused())), vec![Output::Rest]),
            (failed(None), Input::Suspend, failed(None), vec![]),
            (running.clone(), Input::Suspend, running.clone(), vec![Output::Quiet]),
            (degraded.clone(), Input::Suspend, degraded.clone(), vec![Output::Quiet]),
            (asleep(None), Input::Suspend, asleep(None), vec![]),
            (asleep(None), Input::Due, asleep(None), vec![]),
            (asleep(None), Input::NetworkChanged, asleep(None), vec![]),
            (asleep(Some(away())), Input::Wake, opening(fresh, Some(away())), open()),
            (asleep(None), Input::Wanted, asleep(None), vec![]),
            (asleep(None), Input::Start, opening(fresh, None), open()),
            (asleep(None), Input::Stop, State::Stopping { attempt }, vec![Output::Drain]),
            (starting(None), Input::Wake, opening(again, None), open()),
            (starting(None), Input::NetworkChanged, starting(None), vec![]),
            (waiting(away()), Input::Wake, opening(fresh, Some(away())), open()),
            (waiting(away()), Input::NetworkChanged, opening(fresh, Some(away())), open()),
            (failed(Some(later)), Input::Wake, opening(fresh, Some(refused())), open()),
            (failed(Some(later)), Input::NetworkChanged, failed(Some(later)), vec![]),
            (failed(None), Input::Wake, failed(None), vec![]),
            (running.clone(), Input::Wake, running.clone(), vec![Output::Prove]),
            (running.clone(), Input::NetworkChanged, running.clone(), vec![Output::Prove]),
            (degraded.clone(), Input::Wake, degraded, vec![Output::Prove]),
            (
                running.clone(),
                Input::Stale { generation: 7, problem: away() },
                opening(again, Some(away())),
                vec![Output::Close, Output::Open { generation: 8 }],
            ),
            (running.clone(), Input::Stale { generation: 6, problem: away() }, running, vec![]),
            (State::Stopping { attempt }, Input::Wake, State::Stopping { attempt }, vec![]),
        ];
        for (state, input, next, outputs) in table {
            let words = format!("{input:?} in {state:?}");
            let policy = RestartPolicy::PATIENT;
            assert_eq!(step(state, input, on(&policy)), (next, outputs), "{words}");
        }
    }

    #[test]
    fn a_lost_session_backs_off_and_keeps_the_listener() {
        let (state, outputs) = run([
            Input::Start,
            Input::Opened { generation: 1 },
            Input::Lost { generation: 1, problem: away() },
        ]);
        let until = NOW + Duration::from_millis(500);
        assert_eq!(outputs, [Output::Close, Output::WakeAt(until)]);
        assert_eq!(state.retry_at(), Some(until));
        assert_eq!(state.tunnel(), TunnelState::Down);
    }

    #[test]
    fn a_held_client_shortens_the_wait_and_nothing_else() {
        let lose = |generation| Input::OpenFailed { generation, problem: away() };
        let mut inputs = vec![Input::Start, lose(1)];
        for generation in 2..=6 {
            inputs.extend([Input::Due, lose(generation)]);
        }
        let (state, _) = run(inputs.clone());
        assert_eq!(state.retry_at(), Some(NOW + Duration::from_secs(15)));
        inputs.push(Input::Wanted);
        let (state, outputs) = run(inputs);
        assert_eq!(outputs, [Output::WakeAt(NOW + EAGER)]);
        assert_eq!(state.attempt().unproved, 6);

        let refused = [Input::Start, Input::OpenFailed { generation: 1, problem: refused() }];
        let (state, outputs) = run(refused.into_iter().chain([Input::Wanted]));
        assert_eq!((state.retry_at(), outputs), (Some(NOW + PERSON_RETRY), vec![]));
    }

    #[test]
    fn only_proof_resets_the_backoff() {
        let attempt = |generation| {
            [Input::Due, Input::Opened { generation }, Input::Lost { generation, problem: away() }]
        };
        let mut inputs = vec![
            Input::Start,
            Input::Opened { generation: 1 },
            Input::Lost { generation: 1, problem: away() },
        ];
        inputs.extend(attempt(2));
        inputs.extend(attempt(3));
        let (state, _) = run(inputs.clone());
        assert_eq!(state.attempt().unproved, 3);
        assert_eq!(state.retry_at(), Some(NOW + Duration::from_secs(2)));

        inputs.insert(inputs.len() - 1, Input::Proved { generation: 3 });
        let (state, _) = run(inputs);
        assert_eq!(state.attempt().unproved, 1);
        assert_eq!(state.retry_at(), Some(NOW + Duration::from_millis(500)));
    }

    #[test]
    fn a_late_report_of_an_old_generation_is_dropped() {
        let (before, _) = run([Input::Start, Input::Restart, Input::Opened { generation: 2 }]);
        let (after, outputs) = step(
            before.clone(),
            Input::Lost { generation: 1, problem: away() },
            on(&RestartPolicy::PATIENT),
        );
        assert_eq!((after, outputs), (before, vec![]));
    }

    #[test]
    fn what_a_person_must_mend_is_tried_slowly_and_at_once_when_asked() {
        let (state, outputs) =
            run([Input::Start, Input::OpenFailed { generation: 1, problem: refused() }]);
        assert_eq!(state.name(), ForwardState::Failed);
        assert_eq!(outputs, [Output::WakeAt(NOW + PERSON_RETRY)]);
        let (state, outputs) = step(state, Input::RetryNow, on(&RestartPolicy::PATIENT));
        assert_eq!(outputs, [Output::Open { generation: 2 }]);
        assert_eq!(state.problem(), Some(&refused()));
    }

    /// D4: an outage of the whole cluster spends no attempt, and what is the forward's own
    /// does; without `cluster_aware` both do.
    #[test]
    fn d4_an_outage_of_the_cluster_spends_no_attempt() {
        let policy = RestartPolicy { max_attempts: Some(2), ..RestartPolicy::PATIENT };
        let outage = || Problem::new(Code::KubeUnreachable, "`dev` does not answer", "Wait");
        let own = || Problem::new(Code::KubeNotFound, "there is no `svc/orders`", "Create it");
        let run = |cluster_aware, problems: Vec<Problem>| {
            let on = Conditions { cluster_aware, ..on(&policy) };
            let mut state = step(State::default(), Input::Start, on).0;
            for problem in problems {
                let generation = state.attempt().generation;
                state = step(state, Input::OpenFailed { generation, problem }, on).0;
                state = step(state, Input::Due, on).0;
            }
            state
        };
        let away = |count| (0..count).map(|_| outage()).collect::<Vec<_>>();
        let spared = run(true, away(50));
        assert_eq!(spared.name(), ForwardState::BackingOff);
        assert_eq!((spared.attempt().unproved, spared.attempt().spent), (50, 0));
        assert_eq!(run(false, away(3)).name(), ForwardState::Failed);
        let mixed = run(true, [away(50), vec![own(), own()], away(50)].concat());
        assert_eq!((mixed.name(), mixed.attempt().spent), (ForwardState::BackingOff, 2));
        let ended = run(true, [away(50), vec![own(), own(), own()]].concat());
        assert_eq!(ended.problem().map(|p| p.code), Some(Code::AttemptsUsedUp));
    }

    #[test]
    fn a_restart_policy_ends_after_its_attempts_and_a_person_can_start_over() {
        let policy = RestartPolicy { max_attempts: Some(2), ..RestartPolicy::PATIENT };
        let mut state = step(State::default(), Input::Start, on(&policy)).0;
        for generation in 1..=3 {
            let input = Input::OpenFailed { generation, problem: away() };
            state = step(state, input, on(&policy)).0;
            state = step(state, Input::Due, on(&policy)).0;
        }
        assert_eq!(state.problem().map(|p| p.code), Some(Code::AttemptsUsedUp));
        assert_eq!(state.retry_at(), None);
        let (state, outputs) = step(state, Input::RetryNow, on(&policy));
        assert_eq!(outputs, [Output::Open { generation: 4 }]);
        assert_eq!(state.attempt().unproved, 0);
    }

    #[test]
    fn switched_on_while_stopping_it_listens_at_once() {
        let (state, outputs) = run([Input::Start, Input::Stop]);
        assert_eq!(outputs, [Output::Drain]);
        let (state, outputs) = step(state, Input::Start, on(&RestartPolicy::PATIENT));
        assert_eq!(outputs, [Output::Listen, Output::Open { generation: 2 }]);
        assert_eq!(state.name(), ForwardState::Starting);
        let (after, outputs) = step(state.clone(), Input::Drained, on(&RestartPolicy::PATIENT));
        assert_eq!((after, outputs), (state, vec![]));
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Start),
            Just(Input::Stop),
            Just(Input::Restart),
            Just(Input::RetryNow),
            Just(Input::Due),
            Just(Input::Wanted),
            Just(Input::Suspend),
            Just(Input::Wake),
            Just(Input::NetworkChanged),
            (0..20u64).prop_map(|generation| Input::Stale { generation, problem: away() }),
            Just(Input::Drained),
            (0..6u64).prop_map(|generation| Input::Opened { generation }),
            (0..6u64).prop_map(|generation| Input::OpenFailed { generation, problem: away() }),
            (0..6u64).prop_map(|generation| Input::Lost { generation, problem: refused() }),
            (0..6u64).prop_map(|generation| Input::Proved { generation }),
            (0..6u64).prop_map(|generation| Input::Disproved { generation, problem: away() }),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: generations never fall, the listener is
        /// asked for exactly while the forward is on, and every wait has an end.
        #[test]
        fn any_sequence_keeps_its_promises(inputs in prop::collection::vec(input(), 0..60)) {
            let mut state = State::default();
            let mut listening = false;
            for input in inputs {
                let before = state.attempt().generation;
                // The supervisor reports `Drained` only after it was asked to drain.
                if input == Input::Drained && !matches!(state, State::Stopping { .. }) {
                    continue;
                }
                let (next, outputs) = step(state, input, on(&RestartPolicy::PATIENT));
                prop_assert!(next.attempt().generation >= before);
                for output in &outputs {
                    match output {
                        Output::Listen => { prop_assert!(!listening); listening = true; }
                        Output::Drain => { prop_assert!(listening); listening = false; }
                        Output::Open { generation } => {
                            prop_assert_eq!(*generation, next.attempt().generation);
                        }
                        Output::Rest => {
                            let asleep = matches!(next, State::Asleep { .. });
                            prop_assert!(asleep);
                        }
                        Output::Close
                        | Output::WakeAt(_)
                        | Output::Quiet
                        | Output::Prove => {}
                    }
                }
                let on_state = !matches!(next, State::Stopped { .. } | State::Stopping { .. });
                prop_assert_eq!(listening, on_state);
                if matches!(next, State::BackingOff { .. }) {
                    prop_assert!(next.retry_at().is_some());
                }
                state = next;
            }
        }
    }
}
