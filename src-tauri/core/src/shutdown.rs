//! Owns how an engine ends: in stages, each with a budget, decided without doing it.
//!
//! Receives requests to end, word that a stage has nothing left, and the passing of
//! time; emits the next state and what the engine has to do. Every stage ends early when
//! it has nothing left. A request may shorten the end, never lengthen it.

use crate::lifecycle::{QuitSource, SessionEnd};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

/// What is kept of a short deadline for cutting and cleaning, so that waiting for open
/// connections cannot use all of it.
const RESERVE: Duration = Duration::from_secs(1);

/// Who or what asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person at the terminal, in the tray or in the window.
    Person,
    /// A program over the control API, `localport quit` among them.
    Api,
    /// Another process or the service manager (TERM).
    Terminate,
    /// The terminal, the console or the display went away.
    Hangup,
    /// The user logs out.
    Logout,
    /// The machine goes down or starts again.
    SystemShutdown,
    /// Something in LocalPort failed.
    Failure,
}

impl Reason {
    /// Why LocalPort ended, as the rest of a sentence that begins with it.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::Person => "was asked to quit",
            Reason::Api => "was asked to quit over the control API",
            Reason::Terminate => "was told to end by the system or another process",
            Reason::Hangup => "lost its terminal or display",
            Reason::Logout => "ended with the login session",
            Reason::SystemShutdown => "ended with the machine",
            Reason::Failure => "failed",
        }
    }
}

impl From<QuitSource> for Reason {
    fn from(source: QuitSource) -> Self {
        match source {
            QuitSource::Terminal => Reason::Person,
            QuitSource::Terminate => Reason::Terminate,
            QuitSource::Hangup | QuitSource::DisplayLost => Reason::Hangup,
        }
    }
}

impl From<SessionEnd> for Reason {
    fn from(end: SessionEnd) -> Self {
        match end {
            SessionEnd::Logout => Reason::Logout,
            SessionEnd::Shutdown => Reason::SystemShutdown,
        }
    }
}

/// A stage of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Listeners close, held clients are let go, attempts and probes end.
    StopNewWork,
    /// Open connections finish.
    CompleteCurrent,
    /// What is still open is cut; sessions, masters and watches end in good order.
    CancelTasks,
    /// Whatever is left is ended by force.
    ForceCleanup,
}

impl Stage {
    /// Every stage, in its order.
    pub const ALL: [Stage; 4] =
        [Stage::StopNewWork, Stage::CompleteCurrent, Stage::CancelTasks, Stage::ForceCleanup];

    /// The word that JSON, the configuration and people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::StopNewWork => "stop_new_work",
            Stage::CompleteCurrent => "complete_current",
            Stage::CancelTasks => "cancel_tasks",
            Stage::ForceCleanup => "force_cleanup",
        }
    }

    /// Whether the end can still be called off: nothing is lost until something is cut.
    #[must_use]
    pub fn can_cancel(self) -> bool {
        self < Stage::CancelTasks
    }

    fn next(self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| *stage > self)
    }
}

/// Time each stage may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Budget of [`Stage::StopNewWork`].
    pub stop_new_work: Duration,
    /// Budget of [`Stage::CompleteCurrent`].
    pub complete_current: Duration,
    /// Budget of [`Stage::CancelTasks`].
    pub cancel_tasks: Duration,
    /// Budget of [`Stage::ForceCleanup`].
    pub force_cleanup: Duration,
    /// Time for all stages together; none means the sum of theirs.
    pub timeout: Option<Duration>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            stop_new_work: Duration::from_secs(2),
            complete_current: Duration::from_secs(8),
            cancel_tasks: Duration::from_secs(15),
            force_cleanup: Duration::from_secs(5),
            timeout: None,
        }
    }
}

impl Budgets {
    /// Time after which an end is over, whatever happens.
    #[must_use]
    pub fn total(&self) -> Duration {
        let sum: Duration = Stage::ALL.into_iter().map(|stage| self.of(stage)).sum();
        self.timeout.map_or(sum, |timeout| timeout.min(sum))
    }

    /// Time for `stage`.
    #[must_use]
    pub fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::StopNewWork => self.stop_new_work,
            Stage::CompleteCurrent => self.complete_current,
            Stage::CancelTasks => self.cancel_tasks,
            Stage::ForceCleanup => self.force_cleanup,
        }
    }
}

/// Where the end stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// Nobody asked.
    #[default]
    Running,
    /// A stage is under way.
    Ending(Ending),
    /// Over.
    Ended {
        /// The stages, in their order.
        passed: Vec<Passed>,
    },
}

/// A stage under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Which.
    pub stage: Stage,
    /// When it was entered.
    pub since: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
    /// When all has to be over, if somebody said.
    pub deadline: Option<Timestamp>,
    /// The stages before it.
    pub passed: Vec<Passed>,
}

/// A stage that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Passed {
    /// Which.
    pub stage: Stage,
    /// How long it took, in milliseconds.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub took_ms: u64,
    /// Why it ended.
    pub because: Because,
}

/// Why a stage ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It had nothing left.
    Done,
    /// A second request hurried it.
    Hurried,
    /// Its budget was over.
    Expired,
    /// Something in it failed; the end went on without it.
    Failed(String),
}

/// What can happen to the end.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A person asks: the first time to end, after that to hurry.
    Ask,
    /// Somebody with a deadline asks: the session ends, the machine goes down. Asked
    /// during the end it shortens what is left.
    AskWithin(Duration),
    /// Call it off.
    Cancel,
    /// The stage has nothing left.
    Done(Stage),
    /// The stage failed.
    Failed(Stage, String),
    /// The time an output asked for has come.
    Due,
}

/// What the engine has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Begin this stage's work.
    Enter(Stage),
    /// Give `Due` at this time; replaces an earlier wish.
    WakeAt(Timestamp),
    /// Listen again, as if nobody had asked.
    Resume,
    /// Say how it went.
    Finish,
}

/// The next state and what to do, for `input` in `state` at `now`.
#[must_use]
pub fn step(state: State, input: Input, budgets: &Budgets, now: Timestamp) -> (State, Vec<Output>) {
    match (state, input) {
        (State::Running, Input::Ask) => {
            let deadline = budgets.timeout.map(|timeout| now + timeout);
            enter(Stage::StopNewWork, deadline, vec![], budgets, now)
        }
        (State::Running, Input::AskWithin(within)) => {
            let within = budgets.timeout.map_or(within, |timeout| timeout.min(within));
            enter(Stage::StopNewWork, Some(now + within), vec![], budgets, now)
        }
        (State::Ending(ending), Input::Ask) => ending.pass(Because::Hurried, budgets, now),
        (State::Ending(ending), Input::AskWithin(within)) => ending.shorten(now + within),
        (State::Ending(ending), Input::Cancel) if ending.stage.can_cancel() => {
            (State::Running, vec![Output::Resume])
        }
        (State::Ending(ending), Input::Done(stage)) if stage == ending.stage => {
            ending.pass(Because::Done, budgets, now)
        }
        (State::Ending(ending), Input::Failed(stage, why)) if stage == ending.stage => {
            ending.pass(Because::Failed(why), budgets, now)
        }
        (State::Ending(ending), Input::Due) if now >= ending.until => {
            ending.pass(Because::Expired, budgets, now)
        }
        (State::Ending(ending), Input::Due) => {
            let until = ending.until;
            (State::Ending(ending), vec![Output::WakeAt(until)])
        }
        (state, _) => (state, vec![]),
    }
}

fn enter(
    stage: Stage,
    deadline: Option<Timestamp>,
    passed: Vec<Passed>,
    budgets: &Budgets,
    now: Timestamp,
) -> (State, Vec<Output>) {
    let until = limited(stage, now + budgets.of(stage), deadline);
    let ending = Ending { stage, since: now, until, deadline, passed };
    (State::Ending(ending), vec![Output::Enter(stage), Output::WakeAt(until)])
}

fn limited(stage: Stage, until: Timestamp, deadline: Option<Timestamp>) -> Timestamp {
    match deadline {
        None => until,
        Some(deadline) if stage.can_cancel() => until.min(deadline - RESERVE),
        Some(deadline) => until.min(deadline),
    }
}

impl Ending {
    fn pass(mut self, because: Because, budgets: &Budgets, now: Timestamp) -> (State, Vec<Output>) {
        let took_ms = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.passed.push(Passed { stage: self.stage, took_ms, because });
        match self.stage.next() {
            Some(next) => enter(next, self.deadline, self.passed, budgets, now),
            None => (State::Ended { passed: self.passed }, vec![Output::Finish]),
        }
    }

    fn shorten(mut self, deadline: Timestamp) -> (State, Vec<Output>) {
        let deadline = self.deadline.map_or(deadline, |earlier| earlier.min(deadline));
        self.deadline = Some(deadline);
        self.until = limited(self.stage, self.until, self.deadline);
        let until = self.until;
        (State::Ending(self), vec![Output::WakeAt(until)])
    }
}

/// The machine as a Mermaid state diagram, drawn by asking [`step`] itself.
#[must_use]
pub fn diagram() -> String {
    let now = Timestamp(1_000_000);
    let budgets = Budgets::default();
    let name = |state: &State| match state {
        State::Running => "running".to_owned(),
        State::Ending(ending) => ending.stage.as_str().to_owned(),
        State::Ended { .. } => "ended".to_owned(),
    };
    let mut text = String::from("stateDiagram-v2\n    [*] --> running\n");
    let mut state = State::Running;
    loop {
        let stage = match &state {
            State::Ending(ending) => ending.stage,
            _ => Stage::StopNewWork,
        };
        let inputs = [
            ("asked", Input::Ask, now),
            ("asked within a deadline", Input::AskWithin(Duration::from_secs(4)), now),
            ("called off", Input::Cancel, now),
            ("nothing left", Input::Done(stage), now),
            ("failed", Input::Failed(stage, String::new()), now),
            ("budget over", Input::Due, now + Duration::from_secs(60)),
        ];
        for (word, input, at) in inputs {
            let (next, _) = step(state.clone(), input, &budgets, at);
            if name(&next) != name(&state) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "    {} --> {}: {word}", name(&state), name(&next));
            }
        }
        let input = if state == State::Running { Input::Ask } else { Input::Done(stage) };
        state = step(state, input, &budgets, now).0;
        if matches!(state, State::Ended { .. }) {
            text.push_str("    ended --> [*]\n");
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Timestamp = Timestamp(1_000_000);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn run(inputs: impl IntoIterator<Item = (u64, Input)>) -> (State, Vec<Output>) {
        inputs.into_iter().fold((State::Running, vec![]), |(state, _), (at, input)| {
            step(state, input, &Budgets::default(), T0 + seconds(at))
        })
    }

    /// S8: every stage ends early when it has nothing left.
    #[test]
    fn s8_an_end_with_nothing_to_do_takes_no_time() {
        let mut inputs = vec![(0, Input::Ask)];
        inputs.extend(Stage::ALL.map(|stage| (0, Input::Done(stage))));
        let (state, outputs) = run(inputs);
        assert_eq!(outputs, [Output::Finish]);
        let State::Ended { passed } = state else { panic!("not ended: {state:?}") };
        assert!(passed.iter().all(|stage| stage.took_ms == 0 && stage.because == Because::Done));
        assert_eq!(passed.len(), 4);
    }

    /// S8.2: the budgets of the stages, when nothing ends by itself.
    #[test]
    fn s8_2_each_stage_expires_after_its_budget() {
        let (state, outputs) = run([(0, Input::Ask), (2, Input::Due), (10, Input::Due)]);
        let until = T0 + seconds(25);
        assert_eq!(outputs, [Output::Enter(Stage::CancelTasks), Output::WakeAt(until)]);
        let (state, outputs) = step(state, Input::Due, &Budgets::default(), T0 + seconds(24));
        assert_eq!(outputs, [Output::WakeAt(until)]);
        let (state, _) = step(state, Input::Due, &Budgets::default(), until);
        let (state, _) = step(state, Input::Due, &Budgets::default(), T0 + seconds(30));
        let State::Ended { passed } = state else { panic!("not ended: {state:?}") };
        let took: Vec<u64> = passed.iter().map(|stage| stage.took_ms / 1000).collect();
        assert_eq!(took, [2, 8, 15, 5]);
    }

    /// S8.2: the configuration bounds the whole end, cutting and cleaning included.
    #[test]
    fn s8_2_a_timeout_bounds_the_whole_end() {
        let budgets = Budgets { timeout: Some(seconds(6)), ..Budgets::default() };
        assert_eq!((budgets.total(), Budgets::default().total()), (seconds(6), seconds(30)));
        for ask in [Input::Ask, Input::AskWithin(seconds(60))] {
            let (mut state, _) = step(State::Running, ask, &budgets, T0);
            let mut ends = vec![];
            while let State::Ending(ending) = &state {
                let until = ending.until;
                ends.push(until.since(T0).as_secs());
                state = step(state, Input::Due, &budgets, until).0;
            }
            assert_eq!(ends, [2, 5, 6, 6]);
        }
    }

    /// S8.2: a logout during a quit leaves time to cut and to clean.
    #[test]
    fn s8_2_a_deadline_shortens_and_keeps_a_reserve() {
        let (state, outputs) = run([
            (0, Input::Ask),
            (0, Input::Done(Stage::StopNewWork)),
            (1, Input::AskWithin(seconds(4))),
        ]);
        assert_eq!(outputs, [Output::WakeAt(T0 + seconds(4))]);
        let (state, outputs) = step(state, Input::Due, &Budgets::default(), T0 + seconds(4));
        assert_eq!(outputs[1], Output::WakeAt(T0 + seconds(5)));
        let State::Ending(ending) = state else { panic!("over") };
        assert_eq!(ending.stage, Stage::CancelTasks);
    }

    /// S8.3: called off, everything listens again; after the cut it is too late.
    #[test]
    fn s8_3_the_end_can_be_called_off_until_something_is_cut() {
        for stage in Stage::ALL {
            let mut inputs = vec![(0, Input::Ask)];
            inputs
                .extend(Stage::ALL.into_iter().filter(|s| *s < stage).map(|s| (0, Input::Done(s))));
            inputs.push((1, Input::Cancel));
            let (state, outputs) = run(inputs);
            if stage.can_cancel() {
                assert_eq!((state, outputs), (State::Running, vec![Output::Resume]));
            } else {
                assert!(outputs.is_empty());
                assert!(matches!(state, State::Ending(_)));
            }
        }
    }

    /// S1.2: a second request of a person hurries to the next stage, and no further.
    #[test]
    fn s1_2_a_second_request_hurries_one_stage() {
        let (state, outputs) =
            run([(0, Input::Ask), (0, Input::Done(Stage::StopNewWork)), (1, Input::Ask)]);
        assert_eq!(outputs[0], Output::Enter(Stage::CancelTasks));
        let State::Ending(ending) = state else { panic!("over") };
        assert_eq!(ending.passed[1].because, Because::Hurried);
    }

    /// S8.1: a failed stage is recorded and passed.
    #[test]
    fn s8_1_a_failed_stage_is_recorded_and_passed() {
        let failed = Input::Failed(Stage::StopNewWork, "planted".to_owned());
        let (state, outputs) = run([(0, Input::Ask), (1, failed)]);
        assert_eq!(outputs[0], Output::Enter(Stage::CompleteCurrent));
        let State::Ending(ending) = state else { panic!("over") };
        assert_eq!(ending.passed[0].because, Because::Failed("planted".to_owned()));
    }

    fn input() -> impl Strategy<Value = Input> {
        let stage = prop::sample::select(Stage::ALL.to_vec());
        prop_oneof![
            Just(Input::Ask),
            (0..30u64).prop_map(|s| Input::AskWithin(seconds(s))),
            Just(Input::Cancel),
            stage.clone().prop_map(Input::Done),
            stage.prop_map(|stage| Input::Failed(stage, "planted".to_owned())),
            Just(Input::Due),
        ]
    }

    proptest! {
        /// S1.2, S8: whatever comes whenever: stages only go forward, a deadline only
        /// shrinks, and with the passing of time alone every end is reached.
        #[test]
        fn s8_any_sequence_ends(inputs in prop::collection::vec((0..3u64, input()), 0..40)) {
            let budgets = Budgets::default();
            let (mut state, mut now) = (State::Running, T0);
            for (wait, input) in inputs {
                now = now + seconds(wait);
                let before = state.clone();
                state = step(state, input, &budgets, now).0;
                if let (State::Ending(before), State::Ending(after)) = (&before, &state) {
                    prop_assert!(after.stage >= before.stage);
                    if let Some(earlier) = before.deadline {
                        prop_assert!(after.deadline.is_some_and(|later| later <= earlier));
                    }
                    if after.stage == before.stage {
                        prop_assert!(after.until <= before.until);
                    }
                }
                if matches!(before, State::Ended { .. }) {
                    prop_assert_eq!(&before, &state);
                }
            }
            if state == State::Running {
                state = step(state, Input::Ask, &budgets, now).0;
            }
            for _ in Stage::ALL {
                now = now + seconds(60);
                state = step(state, Input::Due, &budgets, now).0;
            }
            prop_assert!(matches!(state, State::Ended { .. }), "{:?}", state);
        }
    }
}
