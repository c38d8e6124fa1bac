//! Owns the one sentence that a start says about what it found.

use super::{Course, Past};
use crate::shutdown::Stage;

/// What a start found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether the machine went down meanwhile.
    pub rebooted: bool,
    /// The programs of the processes that were left and have been ended.
    pub ended: Vec<String>,
    /// How many of these had to be killed.
    pub forced: usize,
    /// Forwards that run now.
    pub on: usize,
    /// Forwards that a person switched off and that stay off.
    pub off: usize,
}

impl Past {
    /// What was found, in one sentence; none when the last host ended by itself and left
    /// nothing.
    #[must_use]
    pub fn sentence(&self, found: &Found) -> Option<String> {
        let life = self.last.as_ref();
        if self.has_ended() && found.ended.is_empty() && self.damaged == 0 {
            return None;
        }
        let mut facts = vec![];
        if !found.ended.is_empty() {
            facts.push(ended(&found.ended, found.forced));
        }
        facts.push(match found.on {
            0 => "no forward is on".to_owned(),
            1 => "1 forward goes on".to_owned(),
            on => format!("{on} forwards go on"),
        });
        match found.off {
            0 => {}
            1 => facts.push("1 stays off".to_owned()),
            off => facts.push(format!("{off} stay off")),
        }
        let head = match life.map(|life| &life.course) {
            None => "The journal of the last LocalPort could not be read".to_owned(),
            Some(Course::Ended { .. }) => "The last LocalPort has ended".to_owned(),
            Some(course) if found.rebooted => {
                format!("The machine went down while {}", course.words("LocalPort"))
            }
            Some(course) => format!("The last LocalPort was killed while {}", course.words("it")),
        };
        let damage = match self.damaged {
            0 => String::new(),
            bytes => format!("; {bytes} bytes of its journal were damaged and left out"),
        };
        Some(format!("{head}; {}{damage}", facts.join(", ")))
    }
}

impl Course {
    /// What went on, as the rest of a sentence; `it` is the host.
    fn words(&self, it: &str) -> String {
        match self {
            Course::Starting => format!("{it} started"),
            Course::Running => format!("{it} ran"),
            Course::Ending { stage: None, .. } => format!("{it} began to end"),
            Course::Ending { stage: Some(stage), .. } => match stage {
                Stage::StopNewWork => "its ports were closing",
                Stage::CompleteCurrent => "connections were finishing",
                Stage::CancelTasks => "its sessions were ending",
                Stage::ForceCleanup => "its last resources were being released",
            }
            .to_owned(),
            Course::Ended { .. } => format!("{it} was off"),
        }
    }
}

/// `2 ssh processes were ended`, by name when all have the same.
fn ended(programs: &[String], forced: usize) -> String {
    let count = programs.len();
    let same = programs.iter().all(|program| *program == programs[0]);
    let name = if same { format!("{} ", programs[0]) } else { String::new() };
    let (plural, were) = if count == 1 { ("", "was") } else { ("es", "were") };
    let how = if forced == count { "killed" } else { "ended" };
    format!("{count} {name}process{plural} {were} {how}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::past::tests::host;
    use crate::journal::{Entry, replay};
    use crate::shutdown::Reason;

    fn past(entries: &[Entry]) -> Past {
        replay([Entry::HostBegan { host: host(7) }].iter().chain(entries).cloned())
    }

    fn ssh(count: usize) -> Vec<String> {
        vec!["ssh".to_owned(); count]
    }

    /// S8.4: what a start says, for every way the last one can have gone.
    #[test]
    fn s8_4_one_sentence_in_plain_words() {
        let entered = |stage| Entry::StageEntered { stage };
        let begun = Entry::EndBegun { reason: Some(Reason::Person) };
        let found = Found { on: 12, ..Found::default() };
        let table: &[(&[Entry], Found, &str)] = &[
            (
                &[],
                Found { on: 1, ..Found::default() },
                "The last LocalPort was killed while it started; 1 forward goes on",
            ),
            (
                &[Entry::HostReady],
                Found { ended: ssh(1), on: 3, off: 1, ..Found::default() },
                "The last LocalPort was killed while it ran; 1 ssh process was ended, \
                 3 forwards go on, 1 stays off",
            ),
            (
                &[Entry::HostReady, begun.clone()],
                found.clone(),
                "The last LocalPort was killed while it began to end; 12 forwards go on",
            ),
            (
                &[entered(Stage::StopNewWork)],
                found.clone(),
                "The last LocalPort was killed while its ports were closing; 12 forwards go on",
            ),
            (
                &[entered(Stage::CompleteCurrent)],
                Found { ended: ssh(2), on: 12, ..Found::default() },
                "The last LocalPort was killed while connections were finishing; \
                 2 ssh processes were ended, 12 forwards go on",
            ),
            (
                &[entered(Stage::CancelTasks)],
                Found { ended: vec!["ssh".into(), "kubectl".into()], forced: 2, ..found.clone() },
                "The last LocalPort was killed while its sessions were ending; \
                 2 processes were killed, 12 forwards go on",
            ),
            (
                &[entered(Stage::ForceCleanup)],
                Found { off: 2, ..Found::default() },
                "The last LocalPort was killed while its last resources were being released; \
                 no forward is on, 2 stay off",
            ),
            (
                &[Entry::HostReady],
                Found { rebooted: true, ..found.clone() },
                "The machine went down while LocalPort ran; 12 forwards go on",
            ),
            (
                &[Entry::HostReady, Entry::Damaged { bytes: 9 }],
                found.clone(),
                "The last LocalPort was killed while it ran; 12 forwards go on; \
                 9 bytes of its journal were damaged and left out",
            ),
            (
                &[Entry::HostEnded { clean: false }],
                Found { ended: ssh(1), ..found.clone() },
                "The last LocalPort has ended; 1 ssh process was ended, 12 forwards go on",
            ),
        ];
        for (entries, found, sentence) in table {
            assert_eq!(past(entries).sentence(found).as_deref(), Some(*sentence));
        }
        let unreadable = Past { damaged: 40, ..Past::default() };
        assert!(unreadable.sentence(&found).unwrap().contains("could not be read; 12 forwards"));
    }

    /// Nothing found, nothing said.
    #[test]
    fn an_ordinary_start_says_nothing() {
        let found = Found { on: 12, off: 1, ..Found::default() };
        assert_eq!(Past::default().sentence(&found), None);
        assert_eq!(past(&[Entry::HostEnded { clean: true }]).sentence(&found), None);
    }
}
