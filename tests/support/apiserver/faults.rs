//! Owns what a test planted, and what it can count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// One request that reached the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `get`, `list`, `watch` or `create`.
    pub verb: String,
    /// The resource, such as `pods` or `pods/portforward`; else the path.
    pub resource: String,
    /// The namespace, empty where there is none.
    pub namespace: String,
    /// The object's name, empty where there is none.
    pub name: String,
    /// The bearer token.
    pub token: Option<String>,
}

#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) forbidden: HashSet<(String, String)>,
    pub(crate) unauthorized: usize,
    pub(crate) token: Option<String>,
    pub(crate) busy: Option<(u16, usize)>,
    pub(crate) stalled: bool,
    pub(crate) delay: Duration,
    /// Answers in the place of an upgrade: status, and whether with a Status body.
    pub(crate) ways: HashMap<&'static str, (u16, bool)>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) watching: Vec<(String, String)>,
    pub(crate) slices: bool,
    pub(crate) connections: usize,
    pub(crate) multiplexed: usize,
    pub(crate) multiplexed_now: usize,
}

impl Faults {
    /// The status that `seen` is refused with before anything else is looked at.
    pub(crate) fn refusal(&mut self, seen: &Seen) -> Option<u16> {
        if let Some((status, left)) = &mut self.busy
            && *left > 0
        {
            *left -= 1;
            return Some(*status);
        }
        if self.unauthorized > 0 {
            self.unauthorized -= 1;
            return Some(401);
        }
        if self.token.is_some() && seen.token != self.token {
            return Some(401);
        }
        (!self.allows(&seen.verb, &seen.resource)).then_some(403)
    }

    pub(crate) fn allows(&self, verb: &str, resource: &str) -> bool {
        !self.forbidden.contains(&(verb.to_owned(), resource.to_owned()))
    }
}
