//! The difference of two configurations: complete, minimal, and without secrets.

use localport_core::config::{
    Config, DEFAULT_HOLD, ForwardSpec, Moves, RestartPolicy, Secret, SshTarget, Target, diff,
};
use proptest::prelude::*;
use std::time::Duration;

fn spec(name: &str, port: u16) -> ForwardSpec {
    ForwardSpec {
        name: name.to_owned(),
        enabled: true,
        tags: vec![],
        description: None,
        local_port: port,
        bind: vec![],
        hold: DEFAULT_HOLD,
        target: Target::Ssh(SshTarget {
            host: "bastion".to_owned(),
            user: None,
            port: None,
            key_file: None,
            password: None,
            remote_host: "localhost".to_owned(),
            remote_port: 5432,
        }),
        health_check: None,
        restart_policy: None,
    }
}

fn aim(spec: ForwardSpec, remote_port: u16) -> ForwardSpec {
    let Target::Ssh(ssh) = spec.target else { unreachable!() };
    ForwardSpec { target: Target::Ssh(SshTarget { remote_port, ..ssh }), ..spec }
}

fn config(forwards: Vec<ForwardSpec>) -> Config {
    Config { forwards, ..Config::default() }
}

fn forward() -> impl Strategy<Value = ForwardSpec> {
    let policy = prop_oneof![Just(None), Just(Some(RestartPolicy::PATIENT))];
    (0..6u8, 15_000..15_008u16, 1..4u16, any::<bool>(), 1..3u64, policy, 0..3u8).prop_map(
        |(name, port, remote, enabled, hold, restart_policy, tag)| ForwardSpec {
            enabled,
            hold: Duration::from_secs(hold),
            restart_policy,
            tags: (0..tag).map(|tag| format!("t{tag}")).collect(),
            ..aim(spec(&format!("f{name}"), port), remote)
        },
    )
}

/// A configuration as loading leaves it: names and ports are unique.
fn any_config() -> impl Strategy<Value = Config> {
    prop::collection::vec(forward(), 0..7).prop_map(|forwards| {
        let mut kept: Vec<ForwardSpec> = vec![];
        for spec in forwards {
            if !kept.iter().any(|k| k.name == spec.name || k.local_port == spec.local_port) {
                kept.push(spec);
            }
        }
        config(kept)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// S4.3: the plan is complete: carried out on the old configuration it gives the new.
    #[test]
    fn s4_3_applying_the_plan_gives_the_new(old in any_config(), new in any_config()) {
        prop_assert_eq!(diff(&old, &new).apply(&old), new);
    }

    /// S4.3: equals differ in nothing.
    #[test]
    fn s4_3_equals_have_an_empty_plan(config in any_config()) {
        let plan = diff(&config, &config.clone());
        prop_assert!(plan.is_empty(), "{:?}", plan);
        prop_assert!(plan.lines().is_empty());
        prop_assert_eq!(plan.unchanged.len(), config.forwards.len());
    }

    /// S4.3: what did not change does not move, and every forward is in one place.
    #[test]
    fn s4_3_only_what_changed_moves(old in any_config(), new in any_config()) {
        let plan = diff(&old, &new);
        for spec in &new.forwards {
            let before = old.forwards.iter().find(|known| known.name == spec.name);
            let unchanged = plan.unchanged.contains(&spec.name);
            prop_assert_eq!(unchanged, before == Some(spec));
            if let Some(change) = plan.changed.iter().find(|change| change.spec.name == spec.name) {
                let was = old.forwards.iter().find(|known| known.name == change.was).unwrap();
                prop_assert_eq!(change.moves.port, was.local_port != spec.local_port);
                prop_assert_eq!(change.moves.session, was.target != spec.target);
                prop_assert!(!change.is_rename() || (!change.moves.port && !change.moves.session));
            }
        }
        let old_places = plan.removed.len() + plan.changed.len() + plan.unchanged.len();
        prop_assert_eq!(old_places, old.forwards.len());
        prop_assert_eq!(plan.added.len() + plan.changed.len() + plan.unchanged.len(), new.forwards.len());
    }
}

#[test]
fn s4_3_each_key_moves_its_own_part() {
    let old = spec("orders", 15_000);
    let moved = |new: ForwardSpec| Moves::between(&old, &new).names();
    assert_eq!(moved(ForwardSpec { tags: vec!["db".into()], ..old.clone() }), ["facts"]);
    assert_eq!(moved(ForwardSpec { description: Some("x".into()), ..old.clone() }), ["facts"]);
    assert_eq!(moved(ForwardSpec { hold: Duration::from_secs(1), ..old.clone() }), ["policy"]);
    assert_eq!(moved(aim(old.clone(), 1)), ["session"]);
    assert_eq!(moved(spec("orders", 15_001)), ["port"]);
    assert_eq!(moved(ForwardSpec { enabled: false, ..old.clone() }), ["enabled"]);
}

/// S4.3: under another name, with port and target as before, a forward stays the same.
#[test]
fn s4_3_a_rename_keeps_the_listener() {
    let plan = diff(&config(vec![spec("wiki", 15_000)]), &config(vec![spec("docs", 15_000)]));
    assert!(plan.added.is_empty() && plan.removed.is_empty());
    assert_eq!(plan.changed[0].was, "wiki");
    assert_eq!(plan.changed[0].moves.names(), ["facts"]);
    assert_eq!(plan.lines(), ["~ docs  was `wiki`; only what is shown changes"]);
    let other = aim(spec("docs", 15_000), 9);
    let plan = diff(&config(vec![spec("wiki", 15_000)]), &config(vec![other]));
    assert_eq!((plan.added.len(), plan.removed.len()), (1, 1));
}

#[test]
fn a_plan_reads_calmly() {
    let old = config(vec![spec("wiki", 15_000), spec("orders", 15_001), spec("same", 15_002)]);
    let off = ForwardSpec { enabled: false, ..spec("new-one", 15_004) };
    let new = config(vec![spec("orders", 15_003), spec("same", 15_002), off]);
    let plan = diff(&old, &new);
    assert_eq!(
        plan.lines(),
        [
            "- wiki     goes; its open connections finish",
            "~ orders   the listener moves; the session and connections stay",
            "           local_port: 15001 → 15003",
            "+ new-one  127.0.0.1:15004 → localhost:5432 (off)",
        ]
    );
    assert_eq!(plan.summary(), "1 added, 1 changed, 1 removed, 1 unchanged");
}

/// S4.5: a changed secret is a change, and is never shown.
#[test]
fn s4_5_a_plan_never_shows_a_secret() {
    let with = |password: &str| {
        let spec = spec("orders", 15_000);
        let Target::Ssh(ssh) = spec.target else { unreachable!() };
        let password = Some(Secret::new(password.to_owned()));
        config(vec![ForwardSpec { target: Target::Ssh(SshTarget { password, ..ssh }), ..spec }])
    };
    let plan = diff(&with("planted-one"), &with("planted-two"));
    assert_eq!(plan.changed[0].moves.names(), ["session"]);
    let said = format!("{} {} {plan:?}", plan.lines().join("\n"), plan.show());
    assert!(!said.contains("planted"), "{said}");
}
