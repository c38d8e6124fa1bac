//! Owns what hangs under what: cluster → session → forward → probe, and SSH host → master →
//! forward.
//!
//! Receives the forwards and places of a snapshot and what the cluster monitor saw; emits
//! what each place is known to be, the roots of trouble, and which forward is in trouble
//! because of which. A root never hangs under another, and each forward in trouble has
//! exactly one.

use crate::cluster::Sight;
use crate::problem::{Code, Problem, Scope};
use crate::snapshot::{
    Cause, CauseKind, Context, Forward, ForwardState, ListenerState, LoginNeeded, Reach, Root,
    Snapshot, Technology, TunnelState,
};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Every root of trouble at `snapshot`: places first, then sessions, then forwards whose
/// trouble is their own; each in the order of the configuration.
#[must_use]
pub fn roots(snapshot: &Snapshot) -> Vec<Root> {
    let own = snapshot.forwards.iter().filter(|f| is_troubled(f) && f.because.is_none());
    let shared = snapshot.contexts.iter().flat_map(|context| context.roots.iter().cloned());
    let mut roots: Vec<Root> = shared.chain(own.map(own_root)).collect();
    roots.sort_by_key(|root| match root.kind {
        CauseKind::Cluster | CauseKind::Host => 0,
        CauseKind::Session => 1,
        CauseKind::Forward => 2,
    });
    roots
}

/// Finds the roots of all trouble: writes them into the contexts, and into each forward
/// what its trouble hangs under.
pub fn mark(contexts: &mut [Context], forwards: &mut [Forward]) {
    for context in contexts.iter_mut() {
        context.roots.clear();
    }
    for forward in forwards.iter_mut() {
        forward.because = None;
    }
    for context in contexts {
        mark_place(context, forwards);
    }
}

/// Whether something is wrong with the forward, whoever's fault it is.
#[must_use]
pub fn is_troubled(forward: &Forward) -> bool {
    use ForwardState::{BackingOff, Degraded, Failed, Starting, Stopped, Stopping};
    match forward.state {
        Stopped | Stopping => false,
        BackingOff | Degraded | Failed => true,
        Starting | ForwardState::Running => {
            forward.problem.is_some() || forward.listener.state == ListenerState::Conflict
        }
    }
}

/// What several forwards to the same end share, such as `svc/orders · shop`, or the SSH
/// destination.
#[must_use]
pub fn session(forward: &Forward) -> String {
    if forward.technology == Technology::Ssh {
        return forward.context.clone();
    }
    // The port is the forward's own: `svc/orders:5432 · shop`.
    match forward.target.rsplit_once(" · ") {
        Some((target, namespace)) => {
            let resource = target.rsplit_once(':').map_or(target, |(resource, _)| resource);
            format!("{resource} · {namespace}")
        }
        None => forward.target.clone(),
    }
}

/// Takes down what is known of the place `context`: what the monitor saw, unless one of
/// the forwards through it (`members`) knows better since then.
pub fn judge(context: &mut Context, members: &[&Forward], sight: Option<&Sight>) {
    if let Some(sight) = sight {
        sight.show(context);
    }
    let known = context.checked.filter(|_| context.reach != Reach::Unknown);
    if let Some((at, problem)) = newest_problem(members)
        && known.is_none_or(|checked| at > checked)
    {
        context.reach = reach(problem.code);
        context.problem = Some(problem.clone());
        context.checked = Some(at);
        context.latency_ms = None;
        context.cached = false;
        if context.reach == Reach::LoginNeeded && context.login.is_none() {
            let what = problem.sentence.clone();
            context.login = Some(LoginNeeded { what, command: None, running: false });
        }
    }
    // A cluster that was asked itself has said more than a session that still answers.
    if sight.is_none_or(|sight| sight.reach == Reach::Unknown)
        && let Some((at, round_trip)) = newest_answer(members)
        && context.checked.is_none_or(|checked| at >= checked)
    {
        context.reach = Reach::Reachable;
        let shared = context.problem.take();
        context.problem = shared.filter(|problem| problem.code.scope() != Scope::Place);
        context.checked = Some(at);
        context.latency_ms = Some(round_trip);
    }
}

/// What a place is that fails so.
#[must_use]
pub fn reach(code: Code) -> Reach {
    match code {
        code if code.is_outage() => Reach::Unreachable,
        code if code.is_login() => Reach::LoginNeeded,
        _ => Reach::Refused,
    }
}

/// Whether a place that is so keeps its forwards from working.
#[must_use]
pub fn is_away(reach: Reach) -> bool {
    matches!(reach, Reach::Unreachable | Reach::LoginNeeded | Reach::Refused)
}

/// The newest problem that is the whole place's, and since when.
fn newest_problem<'a>(members: &[&'a Forward]) -> Option<(Timestamp, &'a Problem)> {
    let place = |forward: &&'a Forward| Some((forward.since, place_problem(forward)?));
    members.iter().filter_map(place).max_by_key(|(at, _)| *at)
}

/// The newest answer that came over a session, and how long it took.
fn newest_answer(members: &[&Forward]) -> Option<(Timestamp, f64)> {
    let up = members.iter().filter(|forward| forward.tunnel.state == TunnelState::Up);
    up.filter_map(|f| Some((f.tunnel.measured?, f.tunnel.rtt_ms?))).max_by_key(|(at, _)| *at)
}

fn place_problem(forward: &Forward) -> Option<&Problem> {
    let problem = forward.problem.as_ref().filter(|_| is_troubled(forward))?;
    (problem.code.scope() == Scope::Place).then_some(problem)
}

fn mark_place(context: &mut Context, forwards: &mut [Forward]) {
    let at = |forward: &Forward| {
        forward.context == context.name
            && forward.technology == context.technology
            && is_troubled(forward)
    };
    let here: Vec<usize> = (0..forwards.len()).filter(|n| at(&forwards[*n])).collect();
    let said = here.iter().find_map(|n| place_problem(&forwards[*n]).cloned());
    let mut left = here;
    if is_away(context.reach) || said.is_some() {
        let (under, own) = left.into_iter().partition(|n| hangs(&forwards[*n], context.reach));
        left = own;
        let problem = context.problem.clone().or(said);
        let kind = match context.technology {
            Technology::Kubectl => CauseKind::Cluster,
            Technology::Ssh => CauseKind::Host,
        };
        let since = if is_away(context.reach) {
            context.since
        } else {
            oldest(forwards, &under).unwrap_or(context.since)
        };
        let name = context.name.clone();
        hang(context, forwards, under, Trunk { kind, name, since, problem });
    }
    mark_sessions(context, forwards, left);
}

/// What at least two forwards to the same end suffer together hangs under that end.
fn mark_sessions(context: &mut Context, forwards: &mut [Forward], left: Vec<usize>) {
    let mut sessions: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for n in left {
        let shares = forwards[n].problem.as_ref().map(|problem| problem.code.scope());
        if shares == Some(Scope::Session) {
            sessions.entry(session(&forwards[n])).or_default().push(n);
        }
    }
    let mut shared: Vec<(String, Vec<usize>)> =
        sessions.into_iter().filter(|(_, members)| members.len() > 1).collect();
    shared.sort_by_key(|(_, members)| members[0]);
    for (name, members) in shared {
        let problem = forwards[members[0]].problem.clone();
        let since = oldest(forwards, &members).unwrap_or(context.since);
        let trunk = Trunk { kind: CauseKind::Session, name, since, problem };
        hang(context, forwards, members, trunk);
    }
}

/// Whether the trouble of `forward` is that of its place, which is in trouble.
fn hangs(forward: &Forward, reach: Reach) -> bool {
    let Some(problem) = &forward.problem else {
        return forward.listener.state != ListenerState::Conflict;
    };
    match problem.code.scope() {
        Scope::Place | Scope::Session => true,
        // What does not come back over a path that is away says nothing of the target.
        Scope::Forward => {
            reach == Reach::Unreachable
                && matches!(problem.code, Code::TargetTimeout | Code::TargetClosed)
        }
    }
}

/// What several forwards are to hang under.
struct Trunk {
    kind: CauseKind,
    name: String,
    since: Timestamp,
    problem: Option<Problem>,
}

fn hang(context: &mut Context, forwards: &mut [Forward], members: Vec<usize>, trunk: Trunk) {
    if members.is_empty() {
        return;
    }
    let Trunk { kind, name, since, problem } = trunk;
    for n in &members {
        forwards[*n].because = Some(Cause { kind, name: name.clone(), since });
    }
    let forwards = members.into_iter().map(|n| forwards[n].name.clone()).collect();
    let (place, technology) = (context.name.clone(), context.technology);
    context.roots.push(Root { kind, name, place, technology, since, problem, forwards });
}

fn oldest(forwards: &[Forward], members: &[usize]) -> Option<Timestamp> {
    members.iter().map(|n| forwards[*n].since).min()
}

fn own_root(forward: &Forward) -> Root {
    Root {
        kind: CauseKind::Forward,
        name: forward.name.clone(),
        place: forward.context.clone(),
        technology: forward.technology,
        since: forward.since,
        problem: forward.problem.clone(),
        forwards: vec![forward.name.clone()],
    }
}
