//! Owns how the operating system's view of a process is judged: what was there at the
//! start, what is accounted for, and what nothing explains.
//!
//! Receives two views and what explains things; emits the checks of a receipt.

mod running;

pub use running::{Running, inspect};

use crate::receipt::Check;
use std::collections::{BTreeMap, BTreeSet};

/// How the names of threads begin that belong to LocalPort and not to a toolkit.
pub const THREAD_PREFIX: &str = "lp-";

/// Longest name of a thread that systems keep, in bytes.
const THREAD_NAME: usize = 15;

/// What the system shows of one process. None means that it cannot be seen here, and is
/// then not checked: a check that cannot fail would be a lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Open files, pipes and the like, without sockets.
    pub descriptors: Option<Vec<Thing>>,
    /// Open sockets.
    pub sockets: Option<Vec<Thing>>,
    /// Child processes, ended ones that nobody has awaited among them.
    pub children: Option<Vec<Thing>>,
    /// Threads.
    pub threads: Option<Vec<Thing>>,
    /// Temporary and control files of ours.
    pub files: Option<Vec<Thing>>,
}

/// One thing that the system shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// What makes it the same thing later, such as an inode; not the number of a
    /// descriptor, which is given again.
    pub key: String,
    /// What people read.
    pub name: String,
    /// What it is recognised by.
    pub mark: Mark,
}

/// What a thing is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// By its path.
    Path(String),
    /// A socket of the internet family.
    Inet {
        /// Its own address.
        local: String,
        /// Whom it is connected with.
        peer: Option<String>,
        /// Whether it accepts clients.
        listening: bool,
    },
    /// A local socket bound to a path.
    Local {
        /// The path.
        path: String,
        /// Whether it accepts clients.
        listening: bool,
    },
    /// A thread of this name.
    Thread(String),
    /// A child that carries our token.
    Token,
    /// By nothing.
    Unknown,
}

/// Whose the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it is ours: everything is judged.
    Whole,
    /// Shared with a toolkit that opens what it likes when it likes: only what is
    /// recognisably ours is judged.
    Shared,
}

/// What explains a thing that was not there at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explained {
    /// Paths of files that are still held, and of directories below which all is.
    pub places: BTreeSet<String>,
    /// Directories of ours: what is below them is recognised as ours.
    pub homes: BTreeSet<String>,
    /// Where the control API listened, and how many of its clients still wait.
    pub control: (String, usize),
    /// Names of threads that belong to the runtime, which goes after this look.
    pub runtime: BTreeSet<String>,
    /// Names of tasks that are still held; a task may be a thread.
    pub tasks: BTreeSet<String>,
    /// Paths of files that were released: they are to be gone, whatever was at the start.
    pub released: BTreeSet<String>,
}

/// Judges `end` against `start`. What cannot be seen in either is not checked.
#[must_use]
pub fn compare(scope: Scope, start: &View, end: &View, explained: &Explained) -> Vec<Check> {
    let mut clients = explained.control.1;
    checks(scope, start, end, explained, |_, thing| explains(thing, explained, &mut clients))
}

/// What is in `end`, was not in `start`, and is not explained by `explains`, which is
/// asked with what is looked at.
fn checks(
    scope: Scope,
    start: &View,
    end: &View,
    explained: &Explained,
    mut explains: impl FnMut(&str, &Thing) -> bool,
) -> Vec<Check> {
    let pairs = [
        ("descriptors", &start.descriptors, &end.descriptors),
        ("sockets", &start.sockets, &end.sockets),
        ("children", &start.children, &end.children),
        ("threads", &start.threads, &end.threads),
        ("files", &start.files, &end.files),
    ];
    pairs
        .into_iter()
        .filter_map(|(what, start, end)| {
            let (start, end) = (start.as_ref()?, end.as_ref()?);
            Some(check(what, scope, [start, end], explained, |thing| explains(what, thing)))
        })
        .collect()
}

fn check(
    what: &str,
    scope: Scope,
    [start, end]: [&Vec<Thing>; 2],
    explained: &Explained,
    mut explains: impl FnMut(&Thing) -> bool,
) -> Check {
    let judged = |thing: &&Thing| scope == Scope::Whole || is_ours(thing, explained);
    let mut before: BTreeMap<&str, usize> = BTreeMap::new();
    for thing in start.iter().filter(judged) {
        *before.entry(&thing.key).or_default() += 1;
    }
    let mut unexplained = Vec::new();
    for thing in end.iter().filter(judged) {
        let was_there = match before.get_mut(thing.key.as_str()) {
            Some(left) if *left > 0 && !is_released(thing, explained) => {
                *left -= 1;
                true
            }
            _ => false,
        };
        if !was_there && !explains(thing) {
            unexplained.push(thing.name.clone());
        }
    }
    let count = |things: &[Thing]| u32::try_from(things.iter().filter(judged).count());
    Check {
        what: what.to_owned(),
        start: count(start).unwrap_or(u32::MAX),
        end: count(end).unwrap_or(u32::MAX),
        unexplained,
    }
}

fn is_ours(thing: &Thing, explained: &Explained) -> bool {
    match &thing.mark {
        Mark::Path(path) | Mark::Local { path, .. } => {
            is_below(path, &explained.homes) || explained.released.contains(path)
        }
        Mark::Inet { .. } | Mark::Token => true,
        Mark::Thread(name) => name.starts_with(THREAD_PREFIX),
        Mark::Unknown => false,
    }
}

fn is_released(thing: &Thing, explained: &Explained) -> bool {
    matches!(&thing.mark, Mark::Path(path) if explained.released.contains(path))
}

fn explains(thing: &Thing, explained: &Explained, clients: &mut usize) -> bool {
    match &thing.mark {
        Mark::Path(path) => is_below(path, &explained.places),
        Mark::Local { path, listening: false } if *path == explained.control.0 => {
            let waits = *clients > 0;
            *clients = clients.saturating_sub(1);
            waits
        }
        Mark::Thread(name) => {
            let named = |known: &String| known.bytes().take(THREAD_NAME).eq(name.bytes());
            explained.runtime.iter().chain(&explained.tasks).any(named)
        }
        Mark::Inet { .. } | Mark::Local { .. } | Mark::Token | Mark::Unknown => false,
    }
}

fn is_below(path: &str, places: &BTreeSet<String>) -> bool {
    let below = |place: &String| {
        path.strip_prefix(place.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
    };
    places.iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the case is, the start, the end, and the keys of what is unexplained.
    type Row<'a> = (&'a str, Vec<Thing>, Vec<Thing>, &'a [&'a str]);

    fn thing(key: &str, mark: Mark) -> Thing {
        Thing { key: key.to_owned(), name: format!("name of {key}"), mark }
    }

    fn inet() -> Mark {
        Mark::Inet { local: "127.0.0.1:1".to_owned(), peer: None, listening: false }
    }

    fn path(path: &str) -> Thing {
        thing(path, Mark::Path(path.to_owned()))
    }

    fn client(key: &str, listening: bool) -> Thing {
        thing(key, Mark::Local { path: "/run/lp/control.sock".to_owned(), listening })
    }

    fn thread(key: &str, name: &str) -> Thing {
        thing(key, Mark::Thread(name.to_owned()))
    }

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn explained() -> Explained {
        Explained {
            places: set(&["/state/logs", "/state/lock"]),
            homes: set(&["/state", "/run/lp"]),
            control: ("/run/lp/control.sock".to_owned(), 1),
            runtime: set(&["lp-runtime"]),
            tasks: set(&["journal", "a name longer than fifteen"]),
            released: set(&["/run/lp/lp-1"]),
        }
    }

    fn unexplained(scope: Scope, start: &[Thing], end: &[Thing]) -> Vec<String> {
        judged(scope, start, end)
            .unexplained
            .iter()
            .map(|name| name.trim_start_matches("name of ").to_owned())
            .collect()
    }

    fn judged(scope: Scope, start: &[Thing], end: &[Thing]) -> Check {
        let view = |things: &[Thing]| View { files: Some(things.to_vec()), ..View::default() };
        compare(scope, &view(start), &view(end), &explained()).remove(0)
    }

    /// S3.3: what was there, what is held and what belongs to those who still wait is
    /// explained; everything else is named.
    #[test]
    fn s3_3_what_nothing_explains_is_named() {
        let socket = || thing("socket:[7]", inet());
        let table: [Row; 11] = [
            ("as before", vec![socket()], vec![socket()], &[]),
            ("one that ended", vec![socket()], vec![], &[]),
            ("a new socket", vec![], vec![socket()], &["socket:[7]"]),
            (
                "a second of a kind",
                vec![path("/dev/null")],
                vec![path("/dev/null"); 2],
                &["/dev/null"],
            ),
            ("held files", vec![], vec![path("/state/lock"), path("/state/logs/a.log")], &[]),
            ("only whole names", vec![], vec![path("/state/lock2")], &["/state/lock2"]),
            ("a waiting client", vec![], vec![client("u1", false)], &[]),
            (
                "one client too many",
                vec![],
                vec![client("u1", false), client("u2", false)],
                &["u2"],
            ),
            ("an open listener", vec![], vec![client("u1", true)], &["u1"]),
            (
                "threads",
                vec![],
                vec![
                    thread("1", "lp-runtime"),
                    thread("2", "journal"),
                    thread("3", "a name longer t"),
                    thread("4", "lp-run"),
                ],
                &["4"],
            ),
            // There at the start, left by a crash, used again and released: it must go.
            (
                "a released file",
                vec![path("/run/lp/lp-1")],
                vec![path("/run/lp/lp-1")],
                &["/run/lp/lp-1"],
            ),
        ];
        for (what, start, end, expected) in table {
            assert_eq!(unexplained(Scope::Whole, &start, &end), expected, "{what}");
        }
    }

    /// S3.3: beside a toolkit only what is recognisably ours is judged.
    #[test]
    fn s3_3_a_toolkits_own_things_are_not_judged() {
        let theirs = [
            thing("pipe:[1]", Mark::Unknown),
            path("/usr/share/fonts/a.ttf"),
            thread("9", "gmain"),
            thing("child 5", Mark::Unknown),
            thing("u9", Mark::Local { path: "/run/user/bus".to_owned(), listening: false }),
        ];
        assert_eq!(unexplained(Scope::Shared, &[], &theirs), Vec::<String>::new());
        assert_eq!(unexplained(Scope::Whole, &[], &theirs).len(), theirs.len());
        let ours = [
            thing("socket:[1]", inet()),
            path("/state/journal"),
            thread("9", "lp-spawner"),
            thing("child 5", Mark::Token),
            client("u1", true),
        ];
        assert_eq!(unexplained(Scope::Shared, &[], &ours).len(), ours.len());
        assert_eq!(judged(Scope::Shared, &theirs, &ours).start, 0);
    }

    /// What a platform cannot show is no check.
    #[test]
    fn s3_4_what_cannot_be_seen_is_not_checked() {
        let seen = View { files: Some(vec![]), ..View::default() };
        let both = View { threads: Some(vec![]), ..seen.clone() };
        let checks = compare(Scope::Whole, &both, &seen, &Explained::default());
        assert_eq!(checks.iter().map(|check| check.what.as_str()).collect::<Vec<_>>(), ["files"]);
    }
}
