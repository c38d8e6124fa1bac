//! The roots of trouble (S5.5): each forward in trouble has exactly one, none hangs under
//! another, and what a place is known to be follows the newest evidence.

#![allow(clippy::unwrap_used)]

use localport_core::cluster::Sight;
use localport_core::graph::{is_away, is_troubled, judge, mark, roots};
use localport_core::problem::{Code, Problem};
use localport_core::snapshot::{
    Bytes, CauseKind, ConfigView, Connections, Context, Forward, ForwardState, ListenerFact,
    ListenerState, Phase, Reach, Snapshot, TargetFact, Technology, TunnelFact, TunnelState,
};
use localport_core::time::Timestamp;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn forward(name: &str, context: &str, target: &str) -> Forward {
    Forward {
        name: name.to_owned(),
        technology: if context.contains('@') { Technology::Ssh } else { Technology::Kubectl },
        context: context.to_owned(),
        tags: vec![],
        description: None,
        wanted: true,
        drain: None,
        state: ForwardState::Running,
        since: NOW,
        local: "127.0.0.1:1".to_owned(),
        target: target.to_owned(),
        listener: ListenerFact { state: ListenerState::Listening, addresses: vec![] },
        tunnel: TunnelFact {
            state: TunnelState::Up,
            path: None,
            endpoint: None,
            rtt_ms: Some(3.0),
            measured: Some(NOW),
            retry_at: None,
        },
        target_health: TargetFact::default(),
        connections: Connections::default(),
        bytes: Bytes::default(),
        problem: None,
        because: None,
    }
}

fn troubled(forward: Forward, code: Code) -> Forward {
    let problem = Some(Problem::new(code, format!("`{code}` happened"), "Mend it"));
    let tunnel = TunnelFact { state: TunnelState::Down, ..forward.tunnel };
    Forward { state: ForwardState::BackingOff, tunnel, problem, ..forward }
}

/// The snapshot of `forwards`, places judged and trouble marked.
fn snapshot(mut forwards: Vec<Forward>, sights: &[(&str, Sight)]) -> Snapshot {
    let mut contexts: Vec<Context> = vec![];
    for forward in &forwards {
        if contexts.iter().all(|context| context.name != forward.context) {
            contexts.push(Context::unknown(&forward.context, forward.technology, NOW));
        }
    }
    for context in &mut contexts {
        let members: Vec<&Forward> =
            forwards.iter().filter(|forward| forward.context == context.name).collect();
        let sight = sights.iter().find(|(name, _)| *name == context.name);
        judge(context, &members, sight.map(|(_, sight)| sight));
    }
    mark(&mut contexts, &mut forwards);
    Snapshot {
        seq: 1,
        at: NOW,
        version: "0".to_owned(),
        pid: 1,
        phase: Phase::Running,
        started: NOW,
        ending: None,
        forwards,
        contexts,
        config: ConfigView::default(),
    }
}

/// S5.5: forty forwards of one cluster that is away are one root with forty dependants.
#[test]
fn s5_5_an_outage_is_one_root_with_all_its_forwards() {
    let away = |n| {
        troubled(forward(&format!("f{n}"), "staging", "svc/a:80 · shop"), Code::KubeUnreachable)
    };
    let mut all: Vec<Forward> = (0..40).map(away).collect();
    all.push(forward("other", "dev", "svc/b:80 · shop"));
    let snapshot = snapshot(all, &[]);
    let roots = roots(&snapshot);
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!((roots[0].kind, roots[0].name.as_str()), (CauseKind::Cluster, "staging"));
    assert_eq!(roots[0].forwards.len(), 40);
    assert_eq!(roots[0].problem.as_ref().unwrap().code, Code::KubeUnreachable);
    assert_eq!(snapshot.contexts[0].reach, Reach::Unreachable);
    assert_eq!(snapshot.contexts[1].reach, Reach::Reachable);
    assert!(snapshot.forwards[40].because.is_none());
}

/// S5.5: what two forwards to one target suffer hangs under it; one alone is its own root.
#[test]
fn s5_5_forwards_to_one_target_share_its_trouble() {
    let all = vec![
        troubled(forward("web", "dev", "svc/orders:80 · shop"), Code::KubeNoReadyPod),
        troubled(forward("admin", "dev", "svc/orders:81 · shop"), Code::KubeNoReadyPod),
        troubled(forward("search", "dev", "svc/search:80 · shop"), Code::KubeNoReadyPod),
        troubled(forward("wiki", "me@bastion", "wiki:80"), Code::SshLost),
        troubled(forward("db", "me@bastion", "db:5432"), Code::SshLost),
    ];
    let snapshot = snapshot(all, &[]);
    let roots = roots(&snapshot);
    let said: Vec<_> = roots.iter().map(|r| (r.kind, r.name.as_str(), r.forwards.len())).collect();
    assert_eq!(
        said,
        [
            (CauseKind::Session, "svc/orders · shop", 2),
            (CauseKind::Session, "me@bastion", 2),
            (CauseKind::Forward, "search", 1),
        ]
    );
}

/// S5.5: a taken port is not the cluster's fault, a time-out over a path that is away is.
#[test]
fn s5_5_only_what_the_place_explains_hangs_under_it() {
    let mut taken = forward("taken", "staging", "svc/a:80 · shop");
    taken.listener.state = ListenerState::Conflict;
    let taken = troubled(taken, Code::PortInUse);
    let slow = troubled(forward("slow", "staging", "svc/b:80 · shop"), Code::TargetTimeout);
    let refused = troubled(forward("refused", "staging", "svc/b:80 · shop"), Code::TargetRefused);
    let gone = troubled(forward("gone", "staging", "svc/c:80 · shop"), Code::KubeUnreachable);
    let snapshot = snapshot(vec![taken, slow, refused, gone], &[]);
    let because = |n: usize| snapshot.forwards[n].because.as_ref().map(|c| c.name.as_str());
    assert_eq!(
        [because(0), because(1), because(2), because(3)],
        [None, Some("staging"), None, Some("staging")]
    );
}

/// S5.4: what was learnt last counts: a forward that failed after the monitor's look, a
/// monitor that looked after the forward failed.
#[test]
fn s5_4_the_newest_evidence_says_what_a_place_is() {
    let away = troubled(forward("a", "staging", "svc/a:80 · shop"), Code::KubeUnreachable);
    let sight = |checked: u64| Sight {
        reach: Reach::Reachable,
        checked: Some(Timestamp(checked)),
        latency_ms: Some(4.0),
        ..Sight::default()
    };
    let before = snapshot(vec![away.clone()], &[("staging", sight(NOW.0 - 1_000))]);
    assert_eq!(before.contexts[0].reach, Reach::Unreachable);
    assert_eq!(before.contexts[0].latency_ms, None);
    let after = snapshot(vec![away], &[("staging", sight(NOW.0 + 1_000))]);
    assert_eq!(after.contexts[0].reach, Reach::Reachable);
    assert_eq!(after.contexts[0].latency_ms, Some(4.0));
}

/// S5.4: a session that goes on answering does not hide that the API server is away, and
/// refused credentials are a log-in that is needed.
#[test]
fn s5_4_a_cluster_that_was_asked_knows_better_than_a_session() {
    let sight = Sight {
        reach: Reach::Unreachable,
        checked: Some(Timestamp(NOW.0 - 1)),
        problem: Some(Problem::new(Code::KubeUnreachable, "away", "wait")),
        ..Sight::default()
    };
    let up = snapshot(vec![forward("a", "staging", "svc/a:80 · shop")], &[("staging", sight)]);
    assert_eq!(up.contexts[0].reach, Reach::Unreachable);
    assert!(roots(&up).is_empty(), "nothing waits for it yet");
    let refused = troubled(forward("a", "staging", "svc/a:80 · shop"), Code::KubeUnauthorized);
    let context = snapshot(vec![refused], &[]).contexts.remove(0);
    assert_eq!(context.reach, Reach::LoginNeeded);
    assert_eq!(context.login.unwrap().what, "`kube-unauthorized` happened");
}

fn any_forward() -> impl Strategy<Value = Forward> {
    let states = prop::sample::select(vec![
        ForwardState::Stopped,
        ForwardState::Starting,
        ForwardState::Running,
        ForwardState::Degraded,
        ForwardState::BackingOff,
        ForwardState::Stopping,
        ForwardState::Failed,
    ]);
    let places = prop::sample::select(vec!["staging", "dev", "me@bastion"]);
    let targets = prop::sample::select(vec!["svc/a:80 · shop", "svc/a:81 · shop", "db:1"]);
    let codes = prop::option::of(prop::sample::select(Code::ALL.to_vec()));
    (states, places, targets, codes, 0_u64..50, any::<bool>(), any::<bool>()).prop_map(
        |(state, place, target, code, age, conflict, up)| {
            let mut forward = forward("", place, target);
            forward.problem = code.map(|code| Problem::new(code, format!("`{code}`"), "Mend it"));
            (forward.state, forward.since) = (state, Timestamp(NOW.0 - age));
            if conflict {
                forward.listener.state = ListenerState::Conflict;
            }
            if !up {
                forward.tunnel.state = TunnelState::Down;
            }
            forward
        },
    )
}

fn any_sight() -> impl Strategy<Value = Sight> {
    let reach = prop::sample::select(vec![
        Reach::Unknown,
        Reach::Reachable,
        Reach::Unreachable,
        Reach::LoginNeeded,
        Reach::Refused,
    ]);
    (reach, prop::option::of(0_u64..50)).prop_map(|(reach, age)| Sight {
        reach,
        checked: age.map(|age| Timestamp(NOW.0 - age)),
        ..Sight::default()
    })
}

proptest! {
    /// S5.5: each forward in trouble has exactly one root, nobody else has one, no root
    /// hangs under another, and marking twice is marking once.
    #[test]
    fn s5_5_each_troubled_forward_has_exactly_one_root(
        forwards in prop::collection::vec(any_forward(), 0..30),
        sight in any_sight(),
    ) {
        let named = forwards.into_iter().enumerate();
        let forwards: Vec<Forward> =
            named.map(|(n, forward)| Forward { name: format!("f{n}"), ..forward }).collect();
        let snapshot = snapshot(forwards, &[("staging", sight)]);
        let roots = roots(&snapshot);
        for forward in &snapshot.forwards {
            let over: Vec<_> = roots.iter().filter(|r| r.forwards.contains(&forward.name)).collect();
            prop_assert_eq!(over.len(), usize::from(is_troubled(forward)), "{:?}", forward);
            match (&forward.because, over.first()) {
                (Some(cause), Some(root)) => {
                    prop_assert_eq!((cause.kind, &cause.name), (root.kind, &root.name));
                    prop_assert!(cause.kind != CauseKind::Forward);
                }
                (None, Some(root)) => prop_assert_eq!(root.kind, CauseKind::Forward),
                (cause, None) => prop_assert_eq!(cause, &None),
            }
        }
        for context in &snapshot.contexts {
            let place = |kind| matches!(kind, CauseKind::Cluster | CauseKind::Host);
            let kinds: Vec<CauseKind> = context.roots.iter().map(|root| root.kind).collect();
            let places = kinds.iter().filter(|kind| place(**kind)).count();
            prop_assert!(places <= 1);
            // What lies under a place in trouble is not a root of its own.
            prop_assert!(places == 0 || kinds.iter().all(|kind| place(*kind)), "{:?}", kinds);
            let away = is_away(context.reach);
            prop_assert!(!away || kinds.iter().all(|kind| *kind != CauseKind::Session));
        }
        let mut again = snapshot.clone();
        mark(&mut again.contexts, &mut again.forwards);
        prop_assert_eq!(again, snapshot);
    }
}
