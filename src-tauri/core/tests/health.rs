//! The verdict machine: exact thresholds, freshness, flap damping, pauses, persistence.

#![allow(clippy::unwrap_used)]

use localport_core::health::{
    BURST, Conditions, FIRST_HOLD, FREE_FALLS, Health, Input, Means, SOON, Settings, Verdict,
};
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::TargetState;
use localport_core::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

const START: Timestamp = Timestamp(1_000_000_000);
const SETTINGS: Settings = Settings {
    interval: Duration::from_secs(30),
    failure_threshold: 3,
    success_threshold: 2,
    traffic_counts: true,
};

fn refused() -> Problem {
    Problem::new(Code::TargetRefused, "`db:5432` refuses connections", "Start it")
}

fn passed() -> Input {
    Input::Passed { round_trip: Duration::from_millis(4) }
}

fn failed() -> Input {
    Input::Failed { problem: refused() }
}

fn at(settings: &Settings, now: Timestamp) -> Conditions<'_> {
    Conditions { now, settings, jitter: 0.5 }
}

/// A target after `inputs`, one a second.
fn after(settings: &Settings, inputs: &[Input]) -> Health {
    let mut now = START;
    inputs.iter().cloned().fold(Health::default(), |health, input| {
        now = now + Duration::from_secs(1);
        health.step(input, at(settings, now))
    })
}

/// S5: the thresholds are exact, from unknown, from healthy and from failing.
#[test]
fn s5_thresholds_are_exact() {
    use TargetState::{Failing, Healthy, Unknown};
    let table: &[(&[Input], TargetState)] = &[
        (&[Input::Opened], Unknown),
        (&[Input::Opened, passed()], Healthy),
        (&[Input::Opened, failed(), failed()], Unknown),
        (&[Input::Opened, failed(), failed(), failed()], Failing),
        (&[Input::Opened, failed(), failed(), passed()], Healthy),
        (&[Input::Opened, passed(), failed(), failed()], Healthy),
        (&[Input::Opened, passed(), failed(), failed(), failed()], Failing),
        (&[Input::Opened, passed(), failed(), failed(), passed(), failed(), failed()], Healthy),
        (&[Input::Opened, failed(), failed(), failed(), passed()], Failing),
        (&[Input::Opened, failed(), failed(), failed(), passed(), passed()], Healthy),
        (&[Input::Opened, failed(), failed(), failed(), passed(), failed(), passed()], Failing),
        (&[passed()], Unknown),
        (&[Input::Opened, passed(), Input::Closed], Unknown),
    ];
    for (inputs, expected) in table {
        assert_eq!(after(&SETTINGS, inputs).target(), *expected, "{inputs:?}");
    }
}

/// S5: bytes that came back are proof of a target of which no more is asked, and put the
/// next probe off by an interval.
#[test]
fn s5_traffic_is_proof_where_it_can_be() {
    let health = after(&SETTINGS, &[Input::Opened, Input::Answered]);
    let now = START + Duration::from_secs(2);
    assert!(health.is_green(&SETTINGS, now));
    assert_eq!(health.proof().unwrap().means, Means::Traffic);
    assert_eq!(health.due(), Some(now + SETTINGS.interval));

    let deep = Settings { traffic_counts: false, ..SETTINGS };
    let health = after(&deep, &[Input::Opened, Input::Answered]);
    assert_eq!(health.target(), TargetState::Unknown);
    assert_eq!(health.due(), Some(START + Duration::from_secs(1)), "a probe is still due");
}

/// S5: clients that are refused in one burst are one failure.
#[test]
fn s5_a_burst_of_refused_clients_is_one_failure() {
    let no = || Input::Refused { problem: refused() };
    let mut health = after(&SETTINGS, &[Input::Opened, passed()]);
    let start = START + Duration::from_secs(10);
    for client in 0..100 {
        health = health.step(no(), at(&SETTINGS, start + Duration::from_millis(client)));
    }
    assert_eq!(health.failures(), 1);
    let health = health.step(no(), at(&SETTINGS, start + BURST + BURST));
    assert_eq!(health.failures(), 2);
}

/// A target that is not healthy is looked at soon, then ever more seldom.
#[test]
fn looks_at_a_failing_target_come_soon_and_grow_to_the_interval() {
    let once = Settings { failure_threshold: 1, ..SETTINGS };
    let (mut health, mut now) = (Health::default().step(Input::Opened, at(&once, START)), START);
    let mut pauses = vec![];
    for _ in 0..6 {
        health = health.step(failed(), at(&once, now));
        pauses.push(health.due().unwrap().since(now).as_secs());
        now = health.due().unwrap();
    }
    let soon = SOON.as_secs();
    assert_eq!(pauses, [soon, 2 * soon, 4 * soon, 8 * soon, 30, 30]);
}

/// G3: a proof through an earlier session vouches for nothing.
#[test]
fn g3_a_new_session_needs_its_own_proof() {
    let health = after(&SETTINGS, &[Input::Opened, passed(), Input::Closed, Input::Opened]);
    let now = START + Duration::from_secs(4);
    assert!(!health.is_green(&SETTINGS, now));
    assert!(health.is_cached());
    assert_eq!(health.due(), Some(now), "proved at once");
    assert!(health.step(passed(), at(&SETTINGS, now)).is_green(&SETTINGS, now));
}

/// S5: a target that comes and goes is healthy again only after ever longer good times.
#[test]
fn s5_flapping_is_damped_and_said() {
    let quick = Settings {
        interval: Duration::from_secs(5),
        failure_threshold: 1,
        success_threshold: 1,
        ..SETTINGS
    };
    let (mut health, mut now) = (Health::default().step(Input::Opened, at(&quick, START)), START);
    let mut tell = |input: Input, health: Health| {
        now = now + Duration::from_secs(5);
        (health.step(input, at(&quick, now)), now)
    };
    for _ in 0..FREE_FALLS {
        (health, _) = tell(passed(), health);
        assert_eq!(health.target(), TargetState::Healthy, "the first falls are free");
        (health, _) = tell(failed(), health);
    }
    (health, _) = tell(passed(), health);
    (health, _) = tell(failed(), health);
    let (mut health, since) = tell(passed(), health);
    assert_eq!(health.problem().unwrap().code, Code::TargetFlapping);
    let mut healthy_at = None;
    while healthy_at.is_none() {
        let now;
        (health, now) = tell(passed(), health);
        healthy_at = (health.target() == TargetState::Healthy).then_some(now);
    }
    assert_eq!(healthy_at.unwrap().since(since), FIRST_HOLD);
}

/// S5: an hour of flapping, at any rhythm, changes the verdict a bounded number of times.
#[test]
fn s5_an_hour_of_flapping_is_a_bounded_number_of_changes() {
    let quick = Settings {
        interval: Duration::from_secs(1),
        failure_threshold: 1,
        success_threshold: 1,
        ..SETTINGS
    };
    for good in [1, 2, 5, 20, 40, 61, 90, 130, 250, 500] {
        let (mut changes, mut before) = (0, TargetState::Unknown);
        let mut health = Health::default().step(Input::Opened, at(&quick, START));
        for second in 0..3_600_u64 {
            let now = START + Duration::from_secs(second);
            let input = if second % (good + 1) < good { passed() } else { failed() };
            health = health.step(input, at(&quick, now));
            changes += usize::from(health.target() != before);
            before = health.target();
        }
        assert!(changes <= 34, "{changes} changes when it fails every {good} s");
    }
}

/// S5.3: what is written down is taken up again: verdict, streaks, falls, next due.
#[test]
fn s5_3_the_state_survives_a_restart() {
    let inputs = [Input::Opened, passed(), failed(), failed()];
    let before = after(&SETTINGS, &inputs);
    let text = serde_json::to_string(&before).unwrap();
    let restored: Health = serde_json::from_str(&text).unwrap();
    assert_eq!(restored.verdict(), &Verdict::Healthy);
    assert_eq!((restored.failures(), restored.due()), (2, before.due()));
    assert!(restored.is_cached());
    let now = START + Duration::from_secs(60);
    let restored = restored.step(Input::Opened, at(&SETTINGS, now));
    assert!(!restored.is_green(&SETTINGS, now), "an old proof is not fresh");
    assert_eq!(restored.due(), Some(now), "a probe at once");
    let fallen = restored.step(failed(), at(&SETTINGS, now));
    assert_eq!(fallen.target(), TargetState::Failing, "the third failure in a row");
}

/// One thing after another, with the time that passes before it.
fn history() -> impl Strategy<Value = Vec<(Input, u64)>> {
    let input = prop_oneof![
        Just(Input::Opened),
        Just(Input::Closed),
        Just(Input::Paused),
        Just(Input::Resumed),
        (0_u64..20_000)
            .prop_map(|millis| Input::Passed { round_trip: Duration::from_millis(millis) }),
        Just(failed()),
        Just(Input::Answered),
        Just(Input::Refused { problem: refused() }),
        Just(Input::Asked),
    ];
    prop::collection::vec((input, 0_u64..100_000), 0..80)
}

fn settings() -> impl Strategy<Value = Settings> {
    (1_u64..300, 1_u32..6, 1_u32..6, any::<bool>()).prop_map(|(interval, down, up, traffic)| {
        Settings {
            interval: Duration::from_secs(interval),
            failure_threshold: down,
            success_threshold: up,
            traffic_counts: traffic,
        }
    })
}

proptest! {
    /// G3: green only with a proof younger than twice the interval, gained through the
    /// session that is open, outside of any pause.
    #[test]
    fn g3_never_green_without_a_fresh_proof(
        history in history(), settings in settings(), jitter in 0.0_f64..1.0, wait in 0_u64..700_000,
    ) {
        let (mut health, mut now) = (Health::default(), START);
        let (mut open, mut paused, mut proof) = (false, false, None);
        for (input, pause) in history {
            now = now + Duration::from_millis(pause);
            match &input {
                Input::Opened => (open, proof) = (true, None),
                Input::Closed => (open, proof) = (false, None),
                Input::Paused => (paused, proof) = (true, None),
                Input::Resumed => (paused, proof) = (false, None),
                Input::Passed { .. } if open && !paused => proof = Some(now),
                Input::Answered if open && !paused && settings.traffic_counts => proof = Some(now),
                _ => {}
            }
            health = health.step(input, Conditions { now, settings: &settings, jitter });
            let later = now + Duration::from_millis(wait);
            for at in [now, later] {
                if health.is_green(&settings, at) {
                    prop_assert!(proof.is_some_and(|proof| at.since(proof) < settings.interval * 2));
                }
            }
            prop_assert_eq!(health.due().is_some(), open && !paused, "looks exactly while it can");
            if let Some(due) = health.due() {
                prop_assert!(due <= now + settings.interval.mul_f64(1.1));
            }
        }
    }

    /// S5.2: a pause at any instant keeps the verdict and the streaks, and its end is
    /// followed by a look at once.
    #[test]
    fn s5_2_a_pause_keeps_the_verdict_and_its_end_looks_at_once(
        history in history(), settings in settings(), cut in 0_usize..80, asleep in 0_u64..1_000_000,
    ) {
        let (mut health, mut now) = (Health::default(), START);
        let on = |now| Conditions { now, settings: &settings, jitter: 0.5 };
        for (input, pause) in history.into_iter().take(cut) {
            now = now + Duration::from_millis(pause);
            health = health.step(input, on(now));
        }
        health = health.step(Input::Resumed, on(now)).step(Input::Opened, on(now));
        let before = health.clone();
        let paused = health.step(Input::Paused, on(now));
        prop_assert_eq!(paused.due(), None);
        prop_assert!(paused.is_cached() && !paused.is_green(&settings, now));
        prop_assert_eq!(paused.target(), before.target());
        // What arrives late in the pause changes nothing.
        let paused = paused.step(passed(), on(now)).step(failed(), on(now));
        now = now + Duration::from_millis(asleep);
        let resumed = paused.step(Input::Resumed, on(now));
        prop_assert_eq!(resumed.verdict(), before.verdict());
        prop_assert_eq!(resumed.failures(), before.failures());
        prop_assert_eq!(resumed.successes(), before.successes());
        prop_assert_eq!(resumed.due(), Some(now));
    }
}
