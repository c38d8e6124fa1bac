//! Owns how the operating system's view is judged while everything runs: in both
//! directions, what no lease explains and which lease has nothing behind it.

use super::{Explained, Mark, Scope, Thing, View, checks, explains, is_below};
use crate::receipt::Check;
use std::collections::{BTreeMap, BTreeSet};

/// What the leases say is there, and how much each kind of them may need besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Local ports that are listened on.
    pub ports: BTreeSet<u16>,
    /// Addresses of the clients that are carried or held.
    pub clients: BTreeSet<String>,
    /// Numbers of the child processes.
    pub children: BTreeSet<String>,
    /// Child processes whose number is not known.
    pub nameless: usize,
    /// Files and directories that were claimed.
    pub files: BTreeSet<String>,
    /// Connections to other machines that tunnels, watches and sessions may need.
    pub outgoing: usize,
    /// What has no name of its own, by its kind as the system writes it without numbers:
    /// pipes to children, descriptors of processes, watches of files.
    pub spare: BTreeMap<String, usize>,
}

/// Judges `now` against `start` while `running` is held. What cannot be seen in either is
/// not checked.
#[must_use]
pub fn inspect(
    scope: Scope,
    start: &View,
    now: &View,
    explained: &Explained,
    running: &Running,
) -> Vec<Check> {
    let mut left = running.clone();
    let mut clients = explained.control.1;
    let mut all = checks(scope, start, now, explained, |what, thing| {
        explains(thing, explained, &mut clients) || left.explains(what, thing, explained)
    });
    for check in &mut all {
        check.unexplained.extend(running.missing(&check.what, now));
    }
    all
}

impl Running {
    fn explains(&mut self, what: &str, thing: &Thing, explained: &Explained) -> bool {
        match &thing.mark {
            Mark::Inet { local, listening: true, .. } => {
                port(local).is_some_and(|port| self.ports.contains(&port))
            }
            Mark::Inet { local, peer: Some(peer), .. }
                if port(local).is_some_and(|port| self.ports.contains(&port)) =>
            {
                self.clients.contains(peer)
            }
            Mark::Inet { .. } => take(&mut self.outgoing),
            Mark::Local { path, .. } => is_below(path, &explained.places),
            Mark::Token | Mark::Unknown if what == "children" => {
                self.children.contains(&thing.key) || take(&mut self.nameless)
            }
            Mark::Unknown | Mark::Path(_) => {
                self.spare.get_mut(&kind(&thing.key)).is_some_and(take)
            }
            Mark::Thread(_) | Mark::Token => false,
        }
    }

    /// Leases of what is looked at in `what` that have nothing behind them.
    fn missing(&self, what: &str, now: &View) -> Vec<String> {
        let things = |things: &Option<Vec<Thing>>| things.clone().unwrap_or_default();
        let keys = |view: &Option<Vec<Thing>>| -> BTreeSet<String> {
            things(view).into_iter().map(|thing| thing.key).collect()
        };
        match what {
            "sockets" => {
                let listens = |thing: Thing| match thing.mark {
                    Mark::Inet { local, listening: true, .. } => port(&local),
                    _ => None,
                };
                let open: BTreeSet<u16> =
                    things(&now.sockets).into_iter().filter_map(listens).collect();
                let lost = self.ports.difference(&open);
                lost.map(|port| format!("port {port} is held, and nothing listens on it")).collect()
            }
            "children" => {
                let there = keys(&now.children);
                let lost = self.children.difference(&there);
                lost.map(|pid| format!("process {pid} is held, and has ended")).collect()
            }
            "files" => {
                let there = keys(&now.files);
                let lost = self.files.difference(&there);
                lost.map(|path| format!("{path} is held, and is not there")).collect()
            }
            _ => vec![],
        }
    }
}

fn take(count: &mut usize) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}

/// `pipe:[]` of `pipe:[4711]`.
fn kind(key: &str) -> String {
    key.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(key: &str, mark: Mark) -> Thing {
        Thing { key: key.to_owned(), name: key.to_owned(), mark }
    }

    fn inet(local: &str, peer: Option<&str>, listening: bool) -> Thing {
        let name = format!("{local} {}", peer.unwrap_or("-"));
        let peer = peer.map(str::to_owned);
        thing(&name, Mark::Inet { local: local.to_owned(), peer, listening })
    }

    fn running() -> Running {
        Running {
            ports: [5432].into(),
            clients: ["127.0.0.1:40000".to_owned()].into(),
            children: ["77".to_owned()].into(),
            nameless: 0,
            files: ["/run/lp/control.sock".to_owned()].into(),
            outgoing: 1,
            spare: [("pipe:[]".to_owned(), 1)].into(),
        }
    }

    /// What is as the leases say.
    fn whole() -> View {
        View {
            descriptors: Some(vec![thing("pipe:[9]", Mark::Unknown)]),
            sockets: Some(vec![
                inet("127.0.0.1:5432", None, true),
                inet("127.0.0.1:5432", Some("127.0.0.1:40000"), false),
                inet("10.0.0.2:50000", Some("10.0.0.1:443"), false),
            ]),
            children: Some(vec![thing("77", Mark::Token)]),
            threads: Some(vec![]),
            files: Some(vec![thing(
                "/run/lp/control.sock",
                Mark::Path("/run/lp/control.sock".to_owned()),
            )]),
        }
    }

    fn unexplained(now: &View) -> Vec<String> {
        let explained = Explained {
            places: ["/run/lp/control.sock".to_owned()].into(),
            ..Explained::default()
        };
        let nothing = || Some(vec![]);
        let start = View {
            descriptors: nothing(),
            sockets: nothing(),
            children: nothing(),
            threads: nothing(),
            files: nothing(),
        };
        let checks = inspect(Scope::Whole, &start, now, &explained, &running());
        assert_eq!(checks.len(), 5);
        checks.into_iter().flat_map(|check| check.unexplained).collect()
    }

    /// S3.3: while everything runs, what no lease explains is named, and so is a lease
    /// with nothing behind it.
    #[test]
    fn s3_3_leases_and_the_system_are_compared_in_both_directions() {
        assert_eq!(unexplained(&whole()), Vec::<String>::new());
        type Change = fn(&mut View);
        let table: [(Change, &str); 9] = [
            (|v| push(&mut v.sockets, inet("127.0.0.1:99", None, true)), "127.0.0.1:99 -"),
            (
                |v| push(&mut v.sockets, inet("127.0.0.1:5432", Some("127.0.0.1:1"), false)),
                "127.0.0.1:5432 127.0.0.1:1",
            ),
            (
                |v| push(&mut v.sockets, inet("10.0.0.2:2", Some("a:443"), false)),
                "10.0.0.2:2 a:443",
            ),
            (|v| push(&mut v.descriptors, thing("pipe:[8]", Mark::Unknown)), "pipe:[8]"),
            (|v| push(&mut v.children, thing("78", Mark::Token)), "78"),
            (|v| push(&mut v.threads, thing("5", Mark::Thread("lp-x".to_owned()))), "5"),
            (|v| v.sockets = Some(vec![]), "port 5432 is held, and nothing listens on it"),
            (|v| v.children = Some(vec![]), "process 77 is held, and has ended"),
            (|v| v.files = Some(vec![]), "/run/lp/control.sock is held, and is not there"),
        ];
        for (change, named) in table {
            let mut view = whole();
            change(&mut view);
            assert_eq!(unexplained(&view), [named]);
        }
    }

    fn push(things: &mut Option<Vec<Thing>>, thing: Thing) {
        things.get_or_insert_default().push(thing);
    }
}
