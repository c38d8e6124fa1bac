//! Random hours: whatever happens, what is said keeps to the rules.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Put(usize, Is),
    All(Is),
    Phase(Phase),
    Woke,
    Network,
    Reload,
    Settings(Settings),
    Pass(f64),
}

fn is() -> impl Strategy<Value = Is> {
    prop_oneof![
        3 => Just(Is::Serving),
        1 => Just(Is::Unproved),
        1 => Just(Is::Off),
        3 => Just(AWAY),
        1 => Just(Is::Suffers(Code::KubeUnauthorized)),
        1 => Just(Is::Suffers(Code::KubeLost)),
        2 => Just(REFUSED),
        1 => Just(Is::Suffers(Code::PortInUse)),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (proptest::bool::weighted(0.8), any::<bool>(), any::<bool>()).prop_map(|(on, quiet, muted)| {
        Settings {
            enabled: on,
            quiet: if quiet { Quiet::parse("12:20-12:40") } else { None },
            muted: if muted { ["prod".to_owned()].into() } else { BTreeSet::new() },
            ..Settings::default()
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..8, is()).prop_map(|(n, is)| Step::Put(n, is)),
        3 => is().prop_map(Step::All),
        1 => prop_oneof![Just(Phase::Running), Just(Phase::Asleep), Just(Phase::Draining)]
            .prop_map(Step::Phase),
        2 => Just(Step::Phase(Phase::Running)),
        1 => Just(Step::Woke),
        1 => Just(Step::Network),
        1 => Just(Step::Reload),
        1 => settings().prop_map(Step::Settings),
        10 => prop_oneof![0.1..4.0, 4.0..30.0, 30.0..900.0].prop_map(Step::Pass),
    ]
}

fn perform(scene: &mut Scene, step: Step) {
    match step {
        Step::Put(n, is) => scene.one(n, is),
        Step::All(is) => scene.all(is),
        Step::Phase(phase) => scene.phase(phase),
        Step::Woke => scene.give(Some(Input::Woke)),
        Step::Network => scene.give(Some(Input::NetworkChanged)),
        Step::Reload => scene.snapshot.config.applied = scene.now,
        Step::Settings(settings) => scene.settings = settings,
        Step::Pass(seconds) => scene.pass(seconds),
    }
}

/// What the screen may show, kept by what was done to it.
#[derive(Default)]
struct Screen {
    shown: BTreeMap<Key, Message>,
    spoken: BTreeMap<Key, Vec<u64>>,
}

impl Screen {
    fn apply(&mut self, at: u64, act: Act, scene: &Scene) {
        let message = match act {
            Act::Withdraw(key) => {
                assert!(self.shown.remove(&key).is_some(), "withdraws what nobody showed");
                return;
            }
            Act::Show(message) => {
                assert!(!self.shown.contains_key(&message.key), "stacked: {message:?}");
                assert_ne!(message.urgency, Urgency::Low, "an end without a beginning");
                message
            }
            Act::Replace(message) => {
                let before = &self.shown[&message.key];
                assert_ne!(*before, message, "says the same again");
                message
            }
        };
        assert_eq!(scene.snapshot.phase, Phase::Running, "{message:?}");
        assert!(scene.settings.enabled, "{message:?}");
        assert!(!scene.settings.muted.contains(message.key.name()), "{message:?}");
        let now = Now { at: Timestamp(at), offset: 0 };
        assert!(scene.settings.quiet.is_none_or(|quiet| quiet.until(now).is_none()));
        assert!(!message.title.contains('`') && !message.title.is_empty());
        let spoken = self.spoken.entry(message.key.clone()).or_default();
        spoken.push(at);
        let hour = spoken.iter().filter(|then| **then + 3_600_000 > at).count();
        assert!(hour <= 6, "{hour} messages in an hour: {message:?}");
        self.shown.insert(message.key.clone(), message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// D4, S4.5: nothing is stacked or withdrawn twice, no end is told without its
    /// beginning, no key speaks more than six times an hour, and what is planned, quiet,
    /// muted or off is silent; in the end, with everything well for long, nothing waits.
    #[test]
    fn d4_random_hours_keep_to_the_rules(steps in prop::collection::vec(step(), 1..120)) {
        let mut scene = Scene::serving(8);
        for n in [5, 6, 7] {
            scene.snapshot.forwards[n].context = "prod".to_owned();
        }
        let mut screen = Screen::default();
        for step in steps {
            perform(&mut scene, step);
            for (at, act) in std::mem::take(&mut scene.acts) {
                screen.apply(at, act, &scene);
            }
        }
        scene.phase(Phase::Running);
        scene.settings = Settings::default();
        scene.all(Is::Serving);
        scene.pass(2.0 * 3600.0);
        for (at, act) in std::mem::take(&mut scene.acts) {
            screen.apply(at, act, &scene);
        }
        prop_assert_eq!(scene.history.due(), None);
        prop_assert!(scene.history.recent().iter().all(|recent| recent.over));
        // What is left on the screen says that all is well.
        prop_assert!(screen.shown.values().all(|message| message.urgency == Urgency::Low));
        scene.phase(Phase::Draining);
        for (at, act) in std::mem::take(&mut scene.acts) {
            screen.apply(at, act, &scene);
        }
        prop_assert!(screen.shown.is_empty());
    }
}
