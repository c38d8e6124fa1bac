//! What a person is told in an hour that passes at once: tables and random hours.

mod random;

use super::*;
use crate::problem::{Code, Problem};
use crate::snapshot::{
    Bytes, ConfigView, Connections, Forward, ForwardState, ListenerFact, ListenerState, TargetFact,
    TargetState, Technology, TunnelFact, TunnelState,
};

/// A day at midnight, UTC.
const MIDNIGHT: u64 = 20_000 * 86_400_000;

/// How one forward is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    Serving,
    Unproved,
    Off,
    Suffers(Code),
}

/// A desktop and its engine; time passes only when told to.
struct Scene {
    snapshot: Snapshot,
    settings: Settings,
    history: History,
    now: Timestamp,
    acts: Vec<(u64, Act)>,
}

fn forward(name: &str, context: &str) -> Forward {
    Forward {
        name: name.to_owned(),
        technology: Technology::Kubectl,
        context: context.to_owned(),
        tags: vec![],
        description: None,
        wanted: true,
        drain: None,
        state: ForwardState::Starting,
        since: Timestamp(0),
        local: "127.0.0.1:5432".to_owned(),
        target: "svc/orders:5432".to_owned(),
        listener: ListenerFact { state: ListenerState::Listening, addresses: vec![] },
        tunnel: TunnelFact {
            state: TunnelState::Connecting,
            path: None,
            endpoint: None,
            rtt_ms: None,
            measured: None,
            retry_at: None,
        },
        target_health: TargetFact::default(),
        connections: Connections::default(),
        bytes: Bytes::default(),
        problem: None,
        because: None,
    }
}

fn put(forward: &mut Forward, is: Is, now: Timestamp) {
    let (state, tunnel, target, problem) = match is {
        Is::Serving => (ForwardState::Running, TunnelState::Up, TargetState::Healthy, None),
        Is::Unproved => (ForwardState::Running, TunnelState::Up, TargetState::Unknown, None),
        Is::Off => (ForwardState::Stopped, TunnelState::Off, TargetState::Unknown, None),
        Is::Suffers(code) => {
            let problem = Problem::new(code, "`it` is away", "Check `the VPN`");
            let (state, tunnel) = match trouble_state(code) {
                true => (ForwardState::Degraded, TunnelState::Up),
                false => (ForwardState::BackingOff, TunnelState::Down),
            };
            (state, tunnel, TargetState::Failing, Some(problem))
        }
    };
    forward.wanted = is != Is::Off;
    forward.state = state;
    forward.tunnel.state = tunnel;
    forward.problem = problem;
    forward.target_health.state = target;
    forward.target_health.checked = Some(now);
    forward.target_health.fresh_until = (is == Is::Serving).then_some(Timestamp(u64::MAX));
}

fn trouble_state(code: Code) -> bool {
    matches!(code, Code::TargetRefused | Code::TargetTimeout)
}

impl Scene {
    /// `count` forwards through `staging` that have served for a minute, at noon.
    fn serving(count: usize) -> Self {
        let forwards = (0..count).map(|n| forward(&format!("f{n}"), "staging")).collect();
        let now = Timestamp(MIDNIGHT + 12 * 3_600_000);
        let mut scene = Self {
            snapshot: Snapshot {
                seq: 0,
                at: now,
                version: String::new(),
                pid: 1,
                phase: Phase::Running,
                started: now,
                ending: None,
                forwards,
                contexts: vec![],
                config: ConfigView::default(),
            },
            settings: Settings::default(),
            history: History::default(),
            now,
            acts: vec![],
        };
        scene.all(Is::Serving);
        scene.pass(60.0);
        assert_eq!(scene.acts, []);
        scene
    }

    fn give(&mut self, input: Option<Input<'_>>) {
        let history = std::mem::take(&mut self.history);
        let now = Now { at: self.now, offset: 0 };
        let input = input.unwrap_or(Input::Is(&self.snapshot));
        let (history, acts) = decide(history, input, &self.settings, now);
        if let Some(due) = history.due() {
            assert!(due > self.now, "asks for the past: {history:#?}");
        }
        self.history = history;
        self.acts.extend(acts.into_iter().map(|act| (self.now.0, act)));
    }

    /// Looks now, and again whenever that was asked for, until `seconds` have passed.
    fn pass(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        self.give(None);
        while let Some(due) = self.history.due().filter(|due| *due <= end) {
            self.now = due;
            self.give(None);
        }
        self.now = end;
    }

    fn all(&mut self, is: Is) {
        let now = self.now;
        self.snapshot.forwards.iter_mut().for_each(|forward| put(forward, is, now));
    }

    fn one(&mut self, index: usize, is: Is) {
        let now = self.now;
        put(&mut self.snapshot.forwards[index], is, now);
    }

    fn phase(&mut self, phase: Phase) {
        self.snapshot.phase = phase;
        self.give(None);
    }

    /// What was done on the screen since last asked, a line each.
    fn said(&mut self) -> Vec<String> {
        let line = |(_, act): (u64, Act)| match act {
            Act::Show(message) => message.title,
            Act::Replace(message) => format!("= {}", message.title),
            Act::Withdraw(key) => format!("- {}", key.name()),
        };
        self.acts.drain(..).map(line).collect()
    }
}

const AWAY: Is = Is::Suffers(Code::KubeUnreachable);
const REFUSED: Is = Is::Suffers(Code::TargetRefused);

/// D4, S5.5: forty forwards and one outage are one message, and one when it is over, with
/// its duration; both under one key.
#[test]
fn s5_5_forty_forwards_and_one_outage() {
    let mut scene = Scene::serving(40);
    for n in 0..40 {
        // Supervisors notice one after another, and some say that the session was lost.
        scene.one(n, Is::Suffers(if n % 3 == 0 { Code::KubeLost } else { Code::KubeUnreachable }));
        scene.pass(0.05);
    }
    scene.pass(240.0);
    let (_, act) = scene.acts[0].clone();
    let Act::Show(message) = act else { panic!("{act:?}") };
    assert_eq!(message.title, "staging unreachable: 40 forwards wait");
    assert_eq!(message.body, "it is away\nCheck the VPN");
    let retry = Action::Retry(Selector::Context("staging".to_owned()));
    assert_eq!(message.actions, [retry, Action::Open]);
    for n in 0..40 {
        scene.one(n, Is::Serving);
        scene.pass(0.3);
    }
    scene.pass(60.0);
    let Act::Replace(back) = scene.acts[1].1.clone() else { panic!("{:?}", scene.acts) };
    assert_eq!(back.title, "staging is back after 4 min");
    assert_eq!((back.body.as_str(), back.key), ("40 forwards serve", message.key));
    assert_eq!(scene.acts.len(), 2, "{:?}", scene.acts);
}

/// D4: a blip says nothing, and neither does a session that a pod's replacement costs.
#[test]
fn d4_a_blip_says_nothing() {
    let mut scene = Scene::serving(12);
    for _ in 0..20 {
        scene.all(AWAY);
        scene.pass(4.9);
        scene.all(Is::Unproved);
        scene.pass(0.05);
        scene.all(Is::Serving);
        scene.pass(7.0);
    }
    assert_eq!(scene.said(), [""; 0]);
    // And a blip of health in an outage is no recovery.
    scene.all(AWAY);
    scene.pass(60.0);
    scene.all(Is::Serving);
    scene.pass(4.9);
    scene.all(AWAY);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["staging unreachable: 12 forwards wait"]);
    scene.all(Is::Serving);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["= staging is back after 2 min"]);
}

/// D4: without proof there is no recovery; with a tunnel but a failing target there is
/// one of the place, and the forward's own trouble is another message.
#[test]
fn d4_a_recovery_needs_proof() {
    let mut scene = Scene::serving(1);
    scene.all(AWAY);
    scene.pass(10.0);
    scene.all(Is::Unproved);
    scene.pass(600.0);
    assert_eq!(scene.said(), ["staging unreachable: f0 waits"]);
    scene.all(REFUSED);
    scene.pass(60.0);
    assert_eq!(
        scene.said(),
        ["= staging is back after 10 min", "f0 is degraded: its target fails"]
    );
    scene.all(Is::Serving);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["= f0 serves again"]);
}

/// D4: a forward alone with trouble is its own message; three of one place are one.
#[test]
fn d4_own_trouble_is_told_alone_and_many_together() {
    let mut scene = Scene::serving(6);
    scene.one(1, REFUSED);
    scene.one(2, Is::Suffers(Code::PortInUse));
    scene.snapshot.forwards[2].listener.state = ListenerState::Conflict;
    scene.pass(60.0);
    assert_eq!(scene.said(), ["f1 is degraded: its target fails", "f2 cannot listen"]);
    scene.one(3, REFUSED);
    scene.pass(60.0);
    assert_eq!(
        scene.said(),
        ["- f1", "- f2", "3 forwards of staging have trouble"],
        "what was told alone is part of the whole"
    );
    scene.snapshot.forwards[2].listener.state = ListenerState::Listening;
    scene.all(Is::Serving);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["= staging: 3 forwards serve"]);
}

/// D4: another problem of the same cause is no news, another cause is; it replaces.
#[test]
fn d4_another_cause_replaces() {
    let mut scene = Scene::serving(2);
    scene.all(Is::Suffers(Code::SshLost));
    scene.pass(10.0);
    scene.all(Is::Suffers(Code::SshUnreachable));
    scene.pass(60.0);
    assert_eq!(scene.said(), ["staging unreachable: 2 forwards wait"]);
    scene.all(Is::Suffers(Code::SshAuthRefused));
    scene.pass(4.0);
    assert_eq!(scene.said(), [""; 0]);
    scene.pass(2.0);
    assert_eq!(scene.said(), ["= staging needs a login: 2 forwards wait"]);
}

/// D4, S5.5: what hangs under a cluster in the graph of causes is told as the cluster's,
/// and where LocalPort can log in, the message offers it.
#[test]
fn d4_a_needed_login_is_offered_for_what_hangs_under_it() {
    use crate::snapshot::{Cause as Hangs, CauseKind, Context, LoginNeeded, Root};
    let mut scene = Scene::serving(3);
    // One of them says nothing of the cluster: its answer did not come back.
    scene.all(Is::Suffers(Code::KubeUnauthorized));
    scene.one(1, Is::Suffers(Code::TargetTimeout));
    let kind = CauseKind::Cluster;
    for forward in &mut scene.snapshot.forwards {
        forward.because = Some(Hangs { kind, name: "staging".to_owned(), since: scene.now });
    }
    let mut context = Context::unknown("staging", Technology::Kubectl, scene.now);
    let problem = Problem::new(Code::KubeUnauthorized, "the token ended", "Log in");
    context.roots = vec![Root {
        kind,
        name: "staging".to_owned(),
        place: "staging".to_owned(),
        technology: Technology::Kubectl,
        since: scene.now,
        problem: Some(problem),
        forwards: vec![],
    }];
    let (what, command) = ("the token ended".to_owned(), Some("oidc login".to_owned()));
    context.login = Some(LoginNeeded { what, command, running: false });
    scene.snapshot.contexts = vec![context];
    scene.pass(60.0);
    let Act::Show(message) = scene.acts[0].1.clone() else { panic!("{:?}", scene.acts) };
    assert_eq!(scene.said(), ["staging needs a login: 3 forwards wait"]);
    assert_eq!(message.actions[0], Action::LogIn("staging".to_owned()));
    assert_eq!(scene.history.recent()[0].actions, message.actions);
}

/// D4: what is left of an outage while the first forwards serve again is still the
/// outage; what stays is the forward's own.
#[test]
fn d4_a_staggered_recovery_is_one_message() {
    let mut scene = Scene::serving(5);
    scene.all(AWAY);
    scene.pass(60.0);
    for n in 0..4 {
        scene.one(n, Is::Serving);
        scene.pass(6.0);
    }
    assert_eq!(scene.said(), ["staging unreachable: 5 forwards wait"]);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["= staging is back after 1 min", "f4 waits for staging"]);
}

/// S4.5: which planned changes silence what, in one table.
#[test]
fn s4_5_planned_changes_are_silent() {
    type Change = fn(&mut Scene);
    let table: &[(&str, Change)] = &[
        ("switched off", |scene| scene.all(Is::Off)),
        ("drained", |scene| {
            scene.all(AWAY);
            let drain = crate::snapshot::ForwardDrain {
                since: scene.now,
                stage: None,
                until: None,
                forced: 0,
            };
            scene.snapshot.forwards.iter_mut().for_each(|f| f.drain = Some(drain));
        }),
        ("quit", |scene| {
            scene.all(AWAY);
            scene.snapshot.phase = Phase::Draining;
        }),
        ("removed by a reload", |scene| scene.snapshot.forwards.clear()),
        ("sleep", |scene| {
            scene.all(AWAY);
            scene.snapshot.phase = Phase::Asleep;
        }),
        ("connecting for the first time", |scene| scene.all(Is::Unproved)),
    ];
    for (name, change) in table {
        let mut scene = Scene::serving(3);
        change(&mut scene);
        scene.pass(600.0);
        assert_eq!(scene.said(), [""; 0], "{name}");
    }
    // In an outage that was told they take its message away, sleep alone leaves it.
    for (name, change) in table {
        let mut scene = Scene::serving(3);
        scene.all(AWAY);
        scene.pass(60.0);
        scene.acts.clear();
        change(&mut scene);
        scene.pass(600.0);
        let stays = ["sleep", "connecting for the first time"].contains(name);
        assert_eq!(scene.said(), if stays { vec![] } else { vec!["- staging"] }, "{name}");
    }
}

/// S4.5: after a start, a wake, a change of network and a reload networks and sessions
/// get their time; what was proved since and then fails is told at once.
#[test]
fn s4_5_networks_get_time_to_settle() {
    type Begin = fn(&mut Scene);
    let table: &[(&str, f64, Begin)] = &[
        ("start", 20.0, |scene| scene.history = History::default()),
        ("wake", 20.0, |scene| scene.give(Some(Input::Woke))),
        ("announced sleep", 20.0, |scene| {
            scene.phase(Phase::Asleep);
            scene.now = scene.now + Duration::from_secs(8 * 3600);
            scene.snapshot.phase = Phase::Running;
        }),
        ("network", 10.0, |scene| scene.give(Some(Input::NetworkChanged))),
        ("reload", 10.0, |scene| scene.snapshot.config.applied = scene.now),
    ];
    for (name, settle, begin) in table {
        for proved in [false, true] {
            let mut scene = Scene::serving(3);
            begin(&mut scene);
            if proved {
                scene.now = scene.now + Duration::from_secs(1);
                scene.all(Is::Serving);
                scene.give(None);
            }
            scene.all(AWAY);
            let silent = if proved { 5.0 } else { *settle };
            scene.pass(silent - 0.1);
            assert_eq!(scene.said(), [""; 0], "{name}, proved: {proved}");
            scene.pass(0.2);
            let told = ["staging unreachable: 3 forwards wait"];
            assert_eq!(scene.said(), told, "{name}, proved: {proved}");
        }
    }
}

/// S4.5: an outage from before the sleep that is over when the machine wakes is taken
/// away; one that is over after a change of the network is told to be.
#[test]
fn s4_5_what_a_wake_mends_is_not_told() {
    for (wake, told) in [(true, "- staging"), (false, "= staging is back after 1 min")] {
        let mut scene = Scene::serving(3);
        scene.all(AWAY);
        scene.pass(60.0);
        scene.acts.clear();
        scene.give(Some(if wake { Input::Woke } else { Input::NetworkChanged }));
        scene.all(Is::Serving);
        scene.pass(30.0);
        assert_eq!(scene.said(), [told]);
    }
}

/// S4.5: a network that changes all the time silences nothing for longer than a minute.
#[test]
fn s4_5_calm_has_an_end() {
    let mut scene = Scene::serving(1);
    for _ in 0..70 {
        scene.give(Some(Input::NetworkChanged));
        scene.all(AWAY);
        scene.pass(1.0);
    }
    assert_eq!(scene.said(), ["staging unreachable: f0 waits"]);
}

/// D4: quiet hours by the user's clock; what is still wrong at their end is told then.
#[test]
fn d4_quiet_hours_keep_quiet_and_then_tell() {
    let mut scene = Scene::serving(3);
    scene.settings.quiet = Quiet::parse("12:01-13:00");
    scene.all(AWAY);
    scene.pass(30.0 * 60.0);
    assert_eq!(scene.said(), [""; 0]);
    assert_eq!(scene.history.recent()[0].title, "staging unreachable: 3 forwards wait");
    assert_eq!(scene.history.recent()[0].clock, "12:01");
    scene.pass(30.0 * 60.0);
    assert_eq!(scene.said(), ["staging unreachable: 3 forwards wait"]);
    assert_eq!(scene.acts, []);
    // What begins and ends in them is told to the menu only.
    scene.settings.quiet = Quiet::parse("12:30-14:00");
    scene.all(Is::Serving);
    scene.pass(30.0);
    assert_eq!(scene.said(), ["- staging"]);
    let recent = &scene.history.recent()[0];
    assert!(recent.over && recent.title.starts_with("staging is back after 1 h"), "{recent:?}");
}

/// D4: of a muted context nothing is told, of others everything.
#[test]
fn d4_a_context_can_be_muted() {
    let mut scene = Scene::serving(3);
    scene.snapshot.forwards[2].context = "prod".to_owned();
    scene.settings.muted = ["staging".to_owned()].into();
    scene.all(AWAY);
    scene.pass(60.0);
    assert_eq!(scene.said(), ["prod unreachable: f2 waits"]);
    // Muted while it is shown, it goes; heard again, it comes.
    scene.settings.muted = ["prod".to_owned()].into();
    scene.pass(60.0);
    assert_eq!(scene.said(), ["- prod", "staging unreachable: 2 forwards wait"]);
    scene.settings.enabled = false;
    scene.pass(60.0);
    assert_eq!(scene.said(), ["- staging"]);
    scene.all(Is::Serving);
    scene.pass(60.0);
    assert_eq!(scene.said(), [""; 0]);
}

/// D4: an hour of flapping, whatever its beat, is a handful of messages; the last says
/// that it is steady, once it is.
#[test]
fn d4_flapping_for_an_hour_is_a_handful_of_messages() {
    for (down, up) in [(6.0, 6.0), (10.0, 50.0), (30.0, 30.0), (120.0, 120.0), (400.0, 300.0)] {
        let mut scene = Scene::serving(12);
        let cycles = (3600.0 / (down + up)) as usize;
        for _ in 0..cycles {
            scene.all(AWAY);
            scene.pass(down);
            scene.all(Is::Serving);
            scene.pass(up);
        }
        let said = scene.said();
        assert!((5..=6).contains(&said.len()), "{down}/{up}: {said:#?}");
        assert_eq!(said[4], "= staging comes and goes");
        scene.pass(1800.0);
        let after = scene.said();
        assert_eq!(after.len(), 1, "{down}/{up}: {after:?}");
        let steady = after[0].starts_with("= staging is steady again") || after[0] == "- staging";
        assert!(steady, "{after:?}");
    }
}

/// D4: what came and went and then stays away is told as what it is.
#[test]
fn d4_flapping_that_ends_in_an_outage_is_told() {
    let mut scene = Scene::serving(2);
    for _ in 0..3 {
        scene.all(AWAY);
        scene.pass(20.0);
        scene.all(Is::Serving);
        scene.pass(20.0);
    }
    scene.all(AWAY);
    scene.pass(599.0);
    assert_eq!(scene.said().last().unwrap(), "= staging comes and goes");
    scene.pass(2.0);
    assert_eq!(scene.said(), ["= staging unreachable: 2 forwards wait"]);
}
