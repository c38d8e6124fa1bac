//! Owns what a journal says: a fold over its entries.

use super::{Entry, Host, Process, Switches};
use crate::shutdown::{Reason, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What the entries say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The last host; none before the first.
    pub last: Option<Life>,
    /// Children that have not been seen to end, by token.
    pub children: BTreeMap<String, Child>,
    /// Files and directories that have to go.
    pub files: BTreeSet<PathBuf>,
    /// What people switched.
    pub switches: Switches,
    /// Bytes of the journal that could not be read.
    pub damaged: u64,
}

/// A host's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which host.
    pub host: Host,
    /// How far it came.
    pub course: Course,
}

/// How far a host came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// It was starting.
    Starting,
    /// It served.
    Running,
    /// It was ending.
    Ending {
        /// Why, first first.
        reasons: Vec<Reason>,
        /// The stage it had entered; none between the request and the first.
        stage: Option<Stage>,
    },
    /// It has ended.
    Ended {
        /// Whether everything was released, nothing by force.
        clean: bool,
    },
}

/// A child that has not been seen to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The program it was started as.
    pub program: PathBuf,
    /// A directory that has to go with it.
    pub dir: Option<PathBuf>,
    /// The host that started it.
    pub host: Process,
    /// Its process; unknown when the host ended in between.
    pub process: Option<Process>,
}

/// What `entries` say, oldest first.
#[must_use]
pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Past {
    let mut past = Past::default();
    for entry in entries {
        past.apply(entry);
    }
    past
}

impl Past {
    /// Takes one more entry into account. One that makes no sense where it stands, as
    /// behind a damaged record, changes nothing.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::HostBegan { host } => {
                self.last = Some(Life { host, course: Course::Starting });
                self.damaged = 0;
            }
            Entry::HostReady => self.turn(|course| match course {
                Course::Starting => Course::Running,
                other => other,
            }),
            Entry::Switched { forward, switch } => self.switches.insert(forward, switch),
            Entry::SwitchForgotten { forward } => self.switches.remove(&forward),
            Entry::ChildIntended { token, program, dir, host } => {
                self.children.insert(token, Child { program, dir, host, process: None });
            }
            Entry::ChildStarted { token, process } => {
                if let Some(child) = self.children.get_mut(&token) {
                    child.process = Some(process);
                }
            }
            Entry::ChildEnded { token } => {
                self.children.remove(&token);
            }
            Entry::FileMade { path } => {
                self.files.insert(path);
            }
            Entry::FileGone { path } => {
                self.files.remove(&path);
            }
            Entry::EndBegun { reason } => self.turn(|course| match course {
                Course::Ending { mut reasons, stage } => {
                    reasons.extend(reason.filter(|reason| !reasons.contains(reason)));
                    Course::Ending { reasons, stage }
                }
                Course::Ended { .. } => course,
                Course::Starting | Course::Running => {
                    Course::Ending { reasons: reason.into_iter().collect(), stage: None }
                }
            }),
            Entry::StageEntered { stage } => self.turn(|course| match course {
                Course::Ending { reasons, .. } => Course::Ending { reasons, stage: Some(stage) },
                Course::Ended { .. } => course,
                Course::Starting | Course::Running => {
                    Course::Ending { reasons: vec![], stage: Some(stage) }
                }
            }),
            Entry::EndCancelled => self.turn(|course| match course {
                Course::Ending { .. } => Course::Running,
                other => other,
            }),
            Entry::HostEnded { clean } => self.turn(|_| Course::Ended { clean }),
            Entry::Damaged { bytes } => self.damaged = self.damaged.saturating_add(bytes),
        }
    }

    /// The shortest entries that say the same.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (forward, switch) in self.switches.iter() {
            entries.push(Entry::Switched { forward: forward.clone(), switch: *switch });
        }
        for (token, child) in &self.children {
            let Child { program, dir, host, process } = child.clone();
            entries.push(Entry::ChildIntended { token: token.clone(), program, dir, host });
            if let Some(process) = process {
                entries.push(Entry::ChildStarted { token: token.clone(), process });
            }
        }
        entries.extend(self.files.iter().map(|path| Entry::FileMade { path: path.clone() }));
        if let Some(Life { host, course }) = &self.last {
            entries.push(Entry::HostBegan { host: host.clone() });
            course.entries(&mut entries);
        }
        if self.damaged > 0 {
            entries.push(Entry::Damaged { bytes: self.damaged });
        }
        entries
    }

    /// Whether the last host, if there was one, came to its own end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.last.as_ref().is_none_or(|life| matches!(life.course, Course::Ended { .. }))
    }

    fn turn(&mut self, next: impl FnOnce(Course) -> Course) {
        if let Some(life) = &mut self.last {
            let course = std::mem::replace(&mut life.course, Course::Starting);
            life.course = next(course);
        }
    }
}

impl Course {
    fn entries(&self, entries: &mut Vec<Entry>) {
        match self {
            Course::Starting => {}
            Course::Running => entries.push(Entry::HostReady),
            Course::Ending { reasons, stage } => {
                entries.extend(reasons.iter().map(|r| Entry::EndBegun { reason: Some(*r) }));
                if reasons.is_empty() && stage.is_none() {
                    entries.push(Entry::EndBegun { reason: None });
                }
                entries.extend(stage.map(|stage| Entry::StageEntered { stage }));
            }
            Course::Ended { clean } => entries.push(Entry::HostEnded { clean: *clean }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::journal::Switch;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    pub(in crate::journal) fn host(pid: u32) -> Host {
        Host {
            process: Process { pid, started: Some(format!("boot:{pid}")) },
            token: format!("host-{pid}"),
            version: "0.1.0".into(),
            at: Timestamp(1),
        }
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let name = "[a-d\u{1F980}\n\"]{1,2}";
        let path = "/[a-c/]{1,6}".prop_map(PathBuf::from);
        let process = (1..9u32, prop::option::of("boot:[0-9]"))
            .prop_map(|(pid, started)| Process { pid, started });
        let stage = prop::sample::select(Stage::ALL.to_vec());
        let reason = prop::sample::select(vec![Reason::Person, Reason::Logout, Reason::Api]);
        prop_oneof![
            (1..9u32).prop_map(|pid| Entry::HostBegan { host: host(pid) }),
            Just(Entry::HostReady),
            (name, any::<bool>(), any::<bool>()).prop_map(|(forward, on, enabled)| {
                Entry::Switched { forward, switch: Switch { on, enabled, drained: false } }
            }),
            name.prop_map(|forward| Entry::SwitchForgotten { forward }),
            (name, path.clone(), prop::option::of(path.clone()), process.clone()).prop_map(
                |(token, program, dir, host)| Entry::ChildIntended { token, program, dir, host }
            ),
            (name, process).prop_map(|(token, process)| Entry::ChildStarted { token, process }),
            name.prop_map(|token| Entry::ChildEnded { token }),
            path.clone().prop_map(|path| Entry::FileMade { path }),
            path.prop_map(|path| Entry::FileGone { path }),
            prop::option::of(reason).prop_map(|reason| Entry::EndBegun { reason }),
            stage.prop_map(|stage| Entry::StageEntered { stage }),
            Just(Entry::EndCancelled),
            any::<bool>().prop_map(|clean| Entry::HostEnded { clean }),
            (1..99u64).prop_map(|bytes| Entry::Damaged { bytes }),
        ]
    }

    pub(in crate::journal) fn entries() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::vec(entry(), 0..40)
    }

    fn course(entries: impl IntoIterator<Item = Entry>) -> Course {
        let began = Entry::HostBegan { host: host(7) };
        replay([began].into_iter().chain(entries)).last.unwrap().course
    }

    /// S8.4: where the last host stood.
    #[test]
    fn s8_4_the_course_of_a_life() {
        let begun = Entry::EndBegun { reason: Some(Reason::Person) };
        let entered = |stage| Entry::StageEntered { stage };
        let ending = |stage| Course::Ending { reasons: vec![Reason::Person], stage };
        assert_eq!(course([]), Course::Starting);
        assert_eq!(course([Entry::HostReady]), Course::Running);
        assert_eq!(course([begun.clone()]), ending(None));
        for stage in Stage::ALL {
            assert_eq!(course([begun.clone(), entered(stage)]), ending(Some(stage)));
        }
        let called_off = [begun.clone(), entered(Stage::StopNewWork), Entry::EndCancelled];
        assert_eq!(course(called_off), Course::Running);
        let over = [begun, entered(Stage::ForceCleanup), Entry::HostEnded { clean: false }];
        assert_eq!(course(over), Course::Ended { clean: false });
        assert_eq!(
            course([entered(Stage::CancelTasks)]),
            Course::Ending { reasons: vec![], stage: Some(Stage::CancelTasks) },
            "also when the record before it was damaged"
        );
    }

    /// S6.1: a child is left until it was seen to end, whichever host comes in between.
    #[test]
    fn s6_1_a_child_is_left_until_it_ended() {
        let intended = |token: &str| Entry::ChildIntended {
            token: token.into(),
            program: "ssh".into(),
            dir: Some("/run/lp-1".into()),
            host: host(7).process,
        };
        let process = Process { pid: 9, started: None };
        let past = replay([
            Entry::HostBegan { host: host(7) },
            intended("a"),
            Entry::ChildStarted { token: "a".into(), process: process.clone() },
            intended("b"),
            intended("c"),
            Entry::ChildEnded { token: "c".into() },
            Entry::HostBegan { host: host(8) },
        ]);
        assert_eq!(past.children.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(past.children["a"].process, Some(process));
        assert_eq!(past.children["b"].process, None);
        assert!(!past.has_ended());
    }

    proptest! {
        /// S8.4: every prefix of every journal replays, and the short form says the same.
        #[test]
        fn s8_4_any_prefix_replays_to_a_past_that_can_be_written_again(entries in entries()) {
            for length in 0..=entries.len() {
                let prefix = &entries[..length];
                let past = replay(prefix.iter().cloned());
                prop_assert_eq!(&replay(past.entries()), &past);
                let began = prefix.iter().any(|entry| matches!(entry, Entry::HostBegan { .. }));
                prop_assert_eq!(past.last.is_some(), began);
                let intended = |token: &String| prefix.iter().any(
                    |entry| matches!(entry, Entry::ChildIntended { token: it, .. } if it == token)
                );
                prop_assert!(past.children.keys().all(intended));
            }
        }
    }
}
