//! Owns what the tray shows, as a value: receives the snapshot and the time, emits a
//! [`Menu`] that is compared with the last one before anything is drawn.

pub(crate) mod icons;
pub(crate) mod render;

use localport_core::command::Selector;
use localport_core::notify::{self, Recent};
use localport_core::problem::Problem;
use localport_core::progress;
use localport_core::snapshot::{CauseKind, Forward, Overall, Phase, Snapshot, Standing};
use localport_core::time::Timestamp;

/// Forwards with a place in the menu itself; a longer menu does not fit a screen.
pub(crate) const TOP_ROWS: usize = 30;

/// Forwards in the submenu of the rest; what lies beyond is in the window.
pub(crate) const MORE_ROWS: usize = 170;

/// Groups in their submenu; more than that are switched in the window.
const GROUPS: usize = 30;

/// A longer reason makes the menu wider than a small screen.
const REASON_CHARS: usize = 90;

/// Everything the tray shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Menu {
    /// Which of the five icons.
    pub(crate) icon: Overall,
    /// One sentence over all forwards.
    pub(crate) summary: String,
    /// The first forwards of the configuration, in its order: a menu that reorders
    /// itself is clicked in the wrong place.
    pub(crate) rows: Vec<Row>,
    /// The others, if there are more than fit.
    pub(crate) more: Option<More>,
    /// Places and tags that can be switched as one.
    pub(crate) groups: Vec<Group>,
    /// The last troubles, newest first.
    pub(crate) recent: Vec<Trouble>,
    /// Whether the end under way can be called off.
    pub(crate) keep: bool,
}

/// Several forwards that are switched as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The forwards meant.
    pub(crate) selector: Selector,
    /// `staging — 2 of 3 on`, `#db — off`.
    pub(crate) title: String,
    /// Whether there is something to switch on.
    pub(crate) can_on: bool,
    /// Whether there is something to switch off.
    pub(crate) can_off: bool,
    /// Whether something waits for its next attempt.
    pub(crate) can_retry: bool,
}

/// One of the last troubles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// `14:02 staging unreachable: 12 forwards wait`.
    pub(crate) title: String,
    /// Why.
    pub(crate) reason: String,
    /// What can be done, as its notification offers it.
    pub(crate) actions: Vec<notify::Action>,
    /// Whether there is still something to do.
    pub(crate) enabled: bool,
}

/// The submenu of what does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct More {
    /// Its title, which says whether something in it is wrong.
    pub(crate) title: String,
    /// Its forwards.
    pub(crate) rows: Vec<Row>,
    /// What even it does not hold, in words.
    pub(crate) beyond: Option<String>,
}

/// One forward's submenu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The forward.
    pub(crate) name: String,
    /// `name — word`.
    pub(crate) title: String,
    /// Why it is so, or where it leads.
    pub(crate) reason: String,
    /// Whether it is switched on.
    pub(crate) on: bool,
    /// What the copy item copies.
    pub(crate) address: String,
    /// What can be done for it now.
    pub(crate) remedy: Remedy,
    /// Whether anything can be asked of it.
    pub(crate) enabled: bool,
}

/// What the third item of a forward's submenu does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Log in to the cluster that it waits for.
    LogIn,
    /// Make the waiting retry due.
    Retry,
    /// End the session and open a new one.
    Restart,
    /// Nothing: it is off.
    None,
}

/// What the tray shows for `snapshot` and the last troubles at `now`.
pub(crate) fn menu(snapshot: &Snapshot, recent: &[Recent], now: Timestamp) -> Menu {
    let leaving = matches!(snapshot.phase, Phase::Draining | Phase::Stopped);
    let row = |forward| row(forward, login(snapshot, forward).is_some(), leaving, now);
    let top = &snapshot.forwards[..snapshot.forwards.len().min(TOP_ROWS)];
    let rest = &snapshot.forwards[top.len()..];
    Menu {
        icon: if leaving { Overall::Busy } else { snapshot.overall(now) },
        summary: summary(snapshot, now),
        rows: top.iter().map(row).collect(),
        groups: groups(&snapshot.forwards, leaving, now),
        recent: recent.iter().map(|recent| trouble(recent, leaving)).collect(),
        keep: snapshot.ending.as_ref().is_some_and(|ending| ending.can_cancel),
        more: (!rest.is_empty()).then(|| More {
            title: more_title(rest, now),
            rows: rest.iter().take(MORE_ROWS).map(row).collect(),
            beyond: (rest.len() > MORE_ROWS)
                .then(|| format!("{} more in the window", rest.len() - MORE_ROWS)),
        }),
    }
}

/// When the menu changes next although nothing happens: a proof runs out.
pub(crate) fn next_change(snapshot: &Snapshot, now: Timestamp) -> Option<Timestamp> {
    if let Some(ending) = &snapshot.ending {
        return next_second(ending.until, now);
    }
    snapshot
        .forwards
        .iter()
        .filter(|forward| forward.standing(now) == Standing::Serving)
        .filter_map(|forward| forward.target_health.fresh_until)
        .min()
        // A proof holds up to and with this moment.
        .map(|until| Timestamp(until.0.saturating_add(1)))
}

fn summary(snapshot: &Snapshot, now: Timestamp) -> String {
    match snapshot.phase {
        Phase::Starting => "starting".to_owned(),
        Phase::Running if snapshot.config.pending.is_some() => {
            format!("{} · a newer configuration is not in force", snapshot.summary(now))
        }
        Phase::Running => snapshot.summary(now),
        Phase::Asleep => "asleep".to_owned(),
        Phase::Draining => {
            progress::sentence(snapshot, now).unwrap_or_else(|| "Quitting".to_owned())
        }
        Phase::Stopped => "stopped".to_owned(),
    }
}

/// When the countdown to `until` says its next second.
fn next_second(until: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let left = until.0.checked_sub(now.0).filter(|left| *left > 0)?;
    Some(Timestamp(until.0 - (left - 1) / 1_000 * 1_000))
}

/// Whether each is on, and whether it waits.
type Members = Vec<(bool, bool)>;

/// The places, then the tags, that at least two forwards have; both in the order of the
/// configuration.
fn groups(forwards: &[Forward], leaving: bool, now: Timestamp) -> Vec<Group> {
    let mut groups: Vec<(Selector, String, Members)> = vec![];
    let mut join = |selector: Selector, name: String, on: (bool, bool)| match groups
        .iter_mut()
        .find(|(known, ..)| *known == selector)
    {
        Some((_, _, members)) => members.push(on),
        None => groups.push((selector, name, vec![on])),
    };
    let stands = |forward: &Forward| {
        let waits = matches!(forward.standing(now), Standing::Broken | Standing::Waiting);
        (forward.wanted, waits)
    };
    for forward in forwards {
        let selector = Selector::Context(forward.context.clone());
        join(selector, forward.context.clone(), stands(forward));
    }
    for forward in forwards {
        for tag in &forward.tags {
            join(Selector::Tag(tag.clone()), format!("#{tag}"), stands(forward));
        }
    }
    groups.retain(|(_, _, members)| members.len() > 1);
    groups.truncate(GROUPS);
    let group = |(selector, name, members): (Selector, String, Members)| {
        let on = members.iter().filter(|(on, _)| *on).count();
        let words = match on {
            0 => "off".to_owned(),
            all if all == members.len() => "on".to_owned(),
            some => format!("{some} of {} on", members.len()),
        };
        Group {
            selector,
            title: format!("{name} — {words}"),
            can_on: !leaving && on < members.len(),
            can_off: !leaving && on > 0,
            can_retry: !leaving && members.iter().any(|(_, waits)| *waits),
        }
    };
    groups.into_iter().map(group).collect()
}

fn trouble(recent: &Recent, leaving: bool) -> Trouble {
    let mut lines = recent.body.lines();
    Trouble {
        title: short(&format!("{} {}", recent.clock, recent.title)),
        reason: short(lines.next().unwrap_or_default()),
        actions: recent.actions.clone(),
        enabled: !leaving && !recent.over,
    }
}

fn more_title(rest: &[Forward], now: Timestamp) -> String {
    let count = |standing| rest.iter().filter(|f| f.standing(now) == standing).count();
    let mut title = format!("{} more", rest.len());
    for (standing, word) in [(Standing::Broken, "broken"), (Standing::Waiting, "waiting")] {
        if count(standing) > 0 {
            title = format!("{title} — {} {word}", count(standing));
        }
    }
    title
}

fn row(forward: &Forward, log_in: bool, leaving: bool, now: Timestamp) -> Row {
    let standing = forward.standing(now);
    Row {
        name: forward.name.clone(),
        title: format!("{} — {}", forward.name, forward.word(now)),
        reason: match (&forward.because, &forward.problem, forward.drain) {
            (Some(cause), ..) => short(&format!("because of {}", cause.name)),
            (None, Some(problem), _) => reason(problem),
            (None, None, Some(_)) => short(&format!("drained by a person · {}", leads_to(forward))),
            (None, None, None) => leads_to(forward),
        },
        on: forward.wanted,
        address: forward.local.clone(),
        remedy: match standing {
            Standing::Off => Remedy::None,
            Standing::Broken | Standing::Waiting if log_in => Remedy::LogIn,
            Standing::Broken | Standing::Waiting => Remedy::Retry,
            Standing::Unproved | Standing::Serving => Remedy::Restart,
        },
        enabled: !leaving,
    }
}

/// The context that a person has to log in to before the forward can work.
pub(crate) fn login<'a>(snapshot: &'a Snapshot, forward: &Forward) -> Option<&'a str> {
    let cause = forward.because.as_ref().filter(|cause| cause.kind == CauseKind::Cluster)?;
    let mut contexts = snapshot.contexts.iter().filter(|context| context.login.is_some());
    contexts.find(|context| context.name == cause.name).map(|context| context.name.as_str())
}

fn leads_to(forward: &Forward) -> String {
    short(&format!("{} → {}", forward.target, forward.context))
}

fn reason(problem: &Problem) -> String {
    // A menu has no literals.
    short(&problem.sentence.replace('`', ""))
}

fn short(text: &str) -> String {
    if text.chars().count() <= REASON_CHARS {
        return text.to_owned();
    }
    text.chars().take(REASON_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::notify::Key;
    use localport_core::problem::Code;
    use localport_core::shutdown::Stage;
    use localport_core::snapshot::{
        Bytes, Cause, ConfigView, Connections, Context, Ending, ForwardDrain, ForwardState,
        ListenerFact, ListenerState, LoginNeeded, TargetFact, TargetState, Technology, TunnelFact,
        TunnelState,
    };

    const NOW: Timestamp = Timestamp(1_000);

    fn serving(name: &str) -> Forward {
        Forward {
            name: name.to_owned(),
            technology: Technology::Ssh,
            context: "bastion".to_owned(),
            tags: Vec::new(),
            description: None,
            wanted: true,
            drain: None,
            state: ForwardState::Running,
            since: Timestamp(0),
            local: "127.0.0.1:5432".to_owned(),
            target: "db:5432".to_owned(),
            listener: ListenerFact { state: ListenerState::Listening, addresses: Vec::new() },
            tunnel: TunnelFact {
                state: TunnelState::Up,
                path: None,
                endpoint: None,
                rtt_ms: Some(12.0),
                measured: None,
                retry_at: None,
            },
            target_health: TargetFact {
                state: TargetState::Healthy,
                fresh_until: Some(Timestamp(5_000)),
                ..TargetFact::default()
            },
            connections: Connections::default(),
            bytes: Bytes::default(),
            problem: None,
            because: None,
        }
    }

    fn off(name: &str) -> Forward {
        Forward { wanted: false, state: ForwardState::Stopped, ..serving(name) }
    }

    fn waiting(name: &str, sentence: &str) -> Forward {
        Forward {
            state: ForwardState::BackingOff,
            problem: Some(Problem::new(Code::SshUnreachable, sentence, "check the VPN")),
            ..serving(name)
        }
    }

    fn failed(name: &str) -> Forward {
        Forward { state: ForwardState::Failed, ..serving(name) }
    }

    fn snapshot(forwards: Vec<Forward>) -> Snapshot {
        Snapshot {
            seq: 1,
            at: NOW,
            version: "0".to_owned(),
            pid: 1,
            phase: Phase::Running,
            started: Timestamp(0),
            ending: None,
            forwards,
            contexts: Vec::new(),
            config: ConfigView::default(),
        }
    }

    /// D2: state word, reason, on/off, address of every forward.
    #[test]
    fn a_row_says_word_and_reason() {
        let starting = Forward { state: ForwardState::Starting, ..serving("c") };
        let table = [
            (serving("a"), "a — serving", "db:5432 → bastion", true, Remedy::Restart),
            (off("b"), "b — off", "db:5432 → bastion", false, Remedy::None),
            (starting, "c — connecting", "db:5432 → bastion", true, Remedy::Restart),
            (
                waiting("d", "`bastion` is away"),
                "d — waiting",
                "bastion is away",
                true,
                Remedy::Retry,
            ),
            (failed("e"), "e — broken", "db:5432 → bastion", true, Remedy::Retry),
        ];
        for (forward, title, reason, on, remedy) in table {
            let row = row(&forward, false, false, NOW);
            let seen = (row.title.as_str(), row.reason.as_str(), row.on, row.remedy);
            assert_eq!(seen, (title, reason, on, remedy));
            assert_eq!(row.address, "127.0.0.1:5432");
        }
    }

    #[test]
    fn the_icon_shows_the_worst() {
        let unproved = Forward {
            target_health: TargetFact { state: TargetState::Unknown, ..TargetFact::default() },
            ..serving("u")
        };
        let table = [
            (vec![], Overall::Idle),
            (vec![off("a")], Overall::Idle),
            (vec![off("a"), serving("b")], Overall::Ok),
            (vec![serving("a"), unproved.clone()], Overall::Busy),
            (vec![unproved, waiting("b", "x")], Overall::Degraded),
            (vec![waiting("a", "x"), failed("b")], Overall::Failed),
        ];
        for (forwards, icon) in table {
            assert_eq!(menu(&snapshot(forwards), &[], NOW).icon, icon);
        }
    }

    /// G3: a proof that runs out turns the icon without any event, at the very moment.
    #[test]
    fn a_proof_runs_out_by_itself() {
        let snapshot = snapshot(vec![serving("a"), off("b")]);
        let then = next_change(&snapshot, NOW).unwrap();
        assert_eq!(menu(&snapshot, &[], Timestamp(then.0 - 1)).icon, Overall::Ok);
        assert_eq!(menu(&snapshot, &[], then).icon, Overall::Busy);
        assert_eq!(menu(&snapshot, &[], then).rows[0].title, "a — unproved");
        assert_eq!(next_change(&snapshot, then), None);
    }

    #[test]
    fn what_does_not_fit_is_in_a_submenu_that_says_its_troubles() {
        let mut forwards: Vec<Forward> = (0..250).map(|n| serving(&format!("s{n}"))).collect();
        forwards[240] = failed("s240");
        forwards[100] = waiting("s100", "x");
        let menu = menu(&snapshot(forwards), &[], NOW);
        assert_eq!(menu.rows.len(), TOP_ROWS);
        let more = menu.more.unwrap();
        assert_eq!(more.title, "220 more — 1 broken — 1 waiting");
        assert_eq!(more.rows.len(), MORE_ROWS);
        assert_eq!(more.rows[0].name, "s30");
        assert_eq!(more.beyond.as_deref(), Some("50 more in the window"));
    }

    #[test]
    fn what_moves_but_is_not_shown_makes_no_other_menu() {
        let before = snapshot(vec![serving("a")]);
        let mut after = before.clone();
        after.seq = 99;
        after.forwards[0].bytes.down = 1 << 30;
        after.forwards[0].tunnel.rtt_ms = Some(99.0);
        after.forwards[0].connections.open = 3;
        assert_eq!(menu(&before, &[], NOW), menu(&after, &[], NOW));
    }

    /// S4.3: that the newest configuration is not in force is said where one looks first.
    #[test]
    fn s4_3_a_configuration_that_waits_is_said() {
        let mut snapshot = snapshot(vec![serving("a")]);
        let before = menu(&snapshot, &[], NOW).summary;
        snapshot.config.pending = Some(localport_core::snapshot::Pending {
            why: localport_core::snapshot::PendingWhy::Invalid,
            sentence: "`a.yaml` has 1 error; what ran before goes on".to_owned(),
            hint: "Correct it".to_owned(),
        });
        let words = format!("{before} · a newer configuration is not in force");
        assert_eq!(menu(&snapshot, &[], NOW).summary, words);
    }

    #[test]
    fn while_it_quits_nothing_can_be_asked() {
        let mut snapshot = snapshot(vec![serving("a"), serving("b")]);
        snapshot.phase = Phase::Draining;
        snapshot.ending = Some(Ending {
            stage: Stage::CompleteCurrent,
            since: NOW,
            until: Timestamp(NOW.0 + 5_500),
            open: 3,
            can_cancel: true,
            left: vec![],
            first: vec![],
            more: 0,
            forced: 0,
        });
        let shown = menu(&snapshot, &[], NOW);
        assert_eq!(shown.summary, "Quitting: 3 connections finish, 6 s left");
        assert!(shown.keep && shown.icon == Overall::Busy);
        assert!(shown.rows.iter().all(|row| !row.enabled));
        assert!(shown.groups.iter().all(|group| !group.can_on && !group.can_off));
        // The countdown moves by itself, a second at a time, to its end.
        let mut now = NOW;
        for seconds in (0..=5).rev() {
            now = next_change(&snapshot, now).unwrap();
            let words = format!("Quitting: 3 connections finish, {seconds} s left");
            assert_eq!(menu(&snapshot, &[], now).summary, words);
        }
        assert_eq!(next_change(&snapshot, now), None);
        // Once something is cut, there is no way back.
        if let Some(ending) = &mut snapshot.ending {
            (ending.stage, ending.can_cancel) = (Stage::CancelTasks, false);
        }
        assert!(!menu(&snapshot, &[], NOW).keep);
    }

    /// D2: what shares a place or a tag is switched as one.
    #[test]
    fn d2_groups_say_how_many_are_on_and_what_can_be_done() {
        let tagged = |forward: Forward| Forward { tags: vec!["db".to_owned()], ..forward };
        let far = Forward { context: "far".to_owned(), ..off("c") };
        let menu = menu(&snapshot(vec![tagged(serving("a")), off("b"), tagged(far)]), &[], NOW);
        let said: Vec<_> =
            menu.groups.iter().map(|g| (g.title.as_str(), g.can_on, g.can_off)).collect();
        // `far` has one forward only, which has its own switch.
        assert_eq!(said, [("bastion — 1 of 2 on", true, true), ("#db — 1 of 2 on", true, true)]);
        assert_eq!(menu.groups[1].selector, Selector::Tag("db".to_owned()));
        let drain = ForwardDrain { since: NOW, stage: None, until: None, forced: 0 };
        let drained = row(&Forward { drain: Some(drain), ..off("d") }, false, false, NOW);
        assert_eq!(
            (drained.title.as_str(), drained.reason.as_str()),
            ("d — drained", "drained by a person · db:5432 → bastion")
        );
    }

    /// D4: what a notification offers is in the tray too.
    #[test]
    fn d4_recent_troubles_are_listed_with_what_mends_them() {
        let recent = |over| Recent {
            key: Key::Place("bastion".to_owned()),
            at: NOW,
            clock: "14:02".to_owned(),
            title: "bastion unreachable: 2 forwards wait".to_owned(),
            body: "timed out\ncheck the VPN".to_owned(),
            over,
            actions: vec![notify::Action::Open],
        };
        let down = snapshot(vec![waiting("a", "x"), waiting("b", "x")]);
        let shown = menu(&down, &[recent(false), recent(true)], NOW);
        assert_eq!(shown.recent[0].title, "14:02 bastion unreachable: 2 forwards wait");
        assert_eq!((shown.recent[0].reason.as_str(), shown.recent[0].enabled), ("timed out", true));
        assert!(!shown.recent[1].enabled, "it is over");
        assert!(shown.groups[0].can_retry);
        let fine = menu(&snapshot(vec![serving("a"), serving("b")]), &[], NOW);
        assert!(!fine.groups[0].can_retry);
    }

    /// S5.5, S5.8: what waits for a cluster says so and no more, and where a person has to
    /// log in, that is what its item does.
    #[test]
    fn s5_8_what_waits_for_a_log_in_says_because_of_it_and_offers_it() {
        let problem = Problem::new(Code::KubeUnauthorized, "refused (401)", "log in");
        let because = Cause { kind: CauseKind::Cluster, name: "staging".into(), since: NOW };
        let under = Forward {
            technology: Technology::Kubectl,
            context: "staging".to_owned(),
            state: ForwardState::Failed,
            problem: Some(problem),
            because: Some(because),
            ..serving("a")
        };
        let mut context = Context::unknown("staging", Technology::Kubectl, NOW);
        let mut scene = snapshot(vec![under]);
        scene.contexts = vec![context.clone()];
        let row = menu(&scene, &[], NOW).rows.remove(0);
        assert_eq!((row.reason.as_str(), row.remedy), ("because of staging", Remedy::Retry));
        let what = "refused (401)".to_owned();
        context.login = Some(LoginNeeded { what, command: None, running: false });
        scene.contexts = vec![context];
        assert_eq!(menu(&scene, &[], NOW).rows[0].remedy, Remedy::LogIn);
        assert_eq!(login(&scene, &scene.forwards[0]), Some("staging"));
    }

    #[test]
    fn a_long_reason_is_cut() {
        let row = row(&waiting("a", &"ä".repeat(400)), false, false, NOW);
        assert_eq!(row.reason.chars().count(), REASON_CHARS);
        assert!(row.reason.ends_with('…'));
    }
}
