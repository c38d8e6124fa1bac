//! Owns what is wrong at one moment, grouped as a person would say it: what a cluster or
//! host as a whole suffers from once, what a forward alone suffers from by itself.
//!
//! Receives the snapshot; emits a [`Trouble`] per [`Key`]. Knows nothing of before.

use crate::problem::{Code, Problem, Remedy};
use crate::snapshot::{CauseKind, Forward, ForwardState, Snapshot, Standing, TunnelState};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// From so many forwards on with trouble of their own, the place they share is told of,
/// and they are not: nobody reads forty messages.
const MANY: usize = 3;

/// What a message is about. There is one message per key at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A Kubernetes context or an SSH host, by its name.
    Place(String),
    /// A forward, by its name.
    Forward(String),
}

impl Key {
    /// The name of what it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Key::Place(name) | Key::Forward(name) => name,
        }
    }
}

/// Why, as coarsely as a person tells troubles apart: another problem of the same cause
/// is no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The cluster or host does not answer.
    Away,
    /// Credentials are missing, refused or expired.
    Login,
    /// The host's key is unknown or another one than before.
    HostKey,
    /// The place cannot be used as it is set up.
    Setup,
    /// Several forwards of the place have trouble of their own.
    Several,
    /// The local port cannot be bound.
    Port,
    /// What the forward leads to is not there.
    Missing,
    /// What the forward leads to fails.
    Target,
    /// The forward itself cannot go on.
    Forward,
}

/// What is wrong with a place or a forward.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    /// What stands for the problems of all.
    pub(super) problem: Problem,
    /// The forwards concerned, in the order of the configuration.
    pub(super) forwards: Vec<String>,
    /// The place they go through.
    pub(super) place: String,
    /// Whether LocalPort can run the log-in that the place needs.
    pub(super) login: bool,
}

/// How a forward stands, as far as telling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It serves, with fresh proof.
    Serves,
    /// Neither proved nor disproved: the last word stands.
    Unclear,
    /// Something is wrong.
    Wrong,
    /// A person or the configuration does not want it on: nothing is expected of it.
    Off,
}

pub(super) fn look(forward: &Forward, now: Timestamp) -> Look {
    let leaving = matches!(forward.state, ForwardState::Stopped | ForwardState::Stopping);
    if !forward.wanted || leaving || forward.drain.is_some() {
        return Look::Off;
    }
    match forward.standing(now) {
        Standing::Off => Look::Off,
        Standing::Serving => Look::Serves,
        Standing::Unproved => Look::Unclear,
        // Without a problem there is nothing to say yet.
        Standing::Broken | Standing::Waiting if forward.problem.is_some() => Look::Wrong,
        Standing::Broken | Standing::Waiting => Look::Unclear,
    }
}

/// What is wrong in `snapshot`. A place is away only if nothing through it serves, unless
/// `lingers` gives the cause of a trouble that it had just before: what is left of that
/// still counts as that.
pub(super) fn troubles(
    snapshot: &Snapshot,
    now: Timestamp,
    lingers: impl Fn(&str) -> Option<Cause>,
) -> BTreeMap<Key, Trouble> {
    let mut places: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    for forward in &snapshot.forwards {
        let place = places.entry(&forward.context).or_insert_with(|| Place::of(forward, snapshot));
        match (look(forward, now), &forward.problem) {
            (Look::Wrong, Some(problem)) => place.wrong.push((forward, problem)),
            (Look::Serves, _) => place.serves = true,
            _ => {}
        }
    }
    let mut troubles = BTreeMap::new();
    for (name, place) in places {
        place.tell(name, lingers(name), &mut troubles);
    }
    troubles
}

/// One place and its forwards.
struct Place<'a> {
    /// What is wrong with the place itself, as far as the graph of causes knows.
    problem: Option<&'a Problem>,
    login: bool,
    serves: bool,
    wrong: Vec<(&'a Forward, &'a Problem)>,
}

impl<'a> Place<'a> {
    fn of(forward: &Forward, snapshot: &'a Snapshot) -> Self {
        let context = snapshot.contexts.iter().find(|context| {
            context.name == forward.context && context.technology == forward.technology
        });
        let roots = context.into_iter().flat_map(|context| &context.roots);
        let mut whole = roots.filter(|root| is_whole(root.kind));
        let login = context.and_then(|context| context.login.as_ref());
        Self {
            problem: whole.find_map(|root| root.problem.as_ref()),
            login: login.is_some_and(|login| login.command.is_some()),
            serves: false,
            wrong: vec![],
        }
    }

    /// What the whole place suffers from.
    fn shared(&self) -> Option<(Cause, &'a Problem)> {
        let own = self.wrong.iter().map(|(_, problem)| *problem);
        let mut known = self.problem.into_iter().chain(own);
        known.find_map(|problem| Some((of_place(problem.code)?, problem)))
    }

    fn tell(self, name: &str, lingers: Option<Cause>, troubles: &mut BTreeMap<Key, Trouble>) {
        let shared = self.shared();
        let login = self.login;
        let trouble =
            |cause, problem, forwards: &[_]| trouble(cause, problem, name, login, forwards);
        let (whole, alone): (Vec<_>, Vec<_>) = match shared {
            Some(_) if !self.serves || lingers.is_some_and(|cause| cause != Cause::Several) => {
                self.wrong.iter().partition(|(forward, problem)| hangs(forward, problem.code))
            }
            _ => (vec![], self.wrong.iter().collect()),
        };
        let many = if lingers == Some(Cause::Several) { 1 } else { MANY };
        if let Some((cause, problem)) = shared
            && !whole.is_empty()
        {
            troubles.insert(Key::Place(name.to_owned()), trouble(cause, problem, &whole));
        } else if alone.len() >= many {
            let problem = alone[0].1;
            let several = trouble(Cause::Several, problem, &alone);
            troubles.insert(Key::Place(name.to_owned()), several);
            return;
        }
        for one in alone {
            let (forward, problem) = one;
            let cause = of_forward(problem.code);
            let key = Key::Forward(forward.name.clone());
            troubles.insert(key, trouble(cause, problem, &[one]));
        }
    }
}

/// Whether a forward's trouble is that of its place, which is in trouble: the graph of
/// causes says so, or its tunnel is down too, whatever it said last. The own port has
/// nothing to do with it.
fn hangs(forward: &Forward, code: Code) -> bool {
    forward.because.as_ref().is_some_and(|cause| is_whole(cause.kind))
        || of_place(code).is_some()
        || (forward.tunnel.state != TunnelState::Up && of_forward(code) != Cause::Port)
}

fn is_whole(kind: CauseKind) -> bool {
    matches!(kind, CauseKind::Cluster | CauseKind::Host)
}

fn trouble(
    cause: Cause,
    problem: &Problem,
    place: &str,
    login: bool,
    forwards: &[&(&Forward, &Problem)],
) -> Trouble {
    Trouble {
        cause,
        problem: problem.clone(),
        forwards: forwards.iter().map(|(forward, _)| forward.name.clone()).collect(),
        place: place.to_owned(),
        login: login && cause == Cause::Login,
    }
}

/// What a problem says of the whole cluster or host; none when it is the forward's own.
fn of_place(code: Code) -> Option<Cause> {
    use Code::{
        KubeConfig, KubeContext, KubeLoginPlugin, KubeTls, KubeUnauthorized, SshAuthRefused,
        SshFailed, SshForwardingForbidden, SshHostKeyChanged, SshHostKeyUnknown, SshKeyFile,
        SshLost, SshMissing,
    };
    match code {
        code if code.is_outage() => Some(Cause::Away),
        SshLost | SshFailed => Some(Cause::Away),
        KubeLoginPlugin | KubeUnauthorized | SshAuthRefused => Some(Cause::Login),
        SshHostKeyUnknown | SshHostKeyChanged => Some(Cause::HostKey),
        KubeConfig | KubeContext | KubeTls | SshForwardingForbidden | SshKeyFile | SshMissing => {
            Some(Cause::Setup)
        }
        _ => None,
    }
}

/// What a problem says of its forward.
fn of_forward(code: Code) -> Cause {
    use Code::{
        BindAddress, CheckCommand, CheckInvalid, KubeLost, KubeNoReadyPod, KubeNotFound,
        OutOfFiles, PortInUse, PortPrivileged, TargetAnswer, TargetCertificate, TargetClosed,
        TargetFlapping, TargetLogin, TargetRefused, TargetTimeout, TargetTls,
    };
    match code {
        PortInUse | PortPrivileged | BindAddress | OutOfFiles => Cause::Port,
        KubeNotFound | KubeNoReadyPod | KubeLost => Cause::Missing,
        TargetAnswer | TargetCertificate | TargetClosed | TargetFlapping | TargetLogin
        | TargetRefused | TargetTimeout | TargetTls | CheckCommand | CheckInvalid => Cause::Target,
        code if of_place(code).is_some() || code.remedy() == Remedy::Retry => Cause::Missing,
        _ => Cause::Forward,
    }
}
