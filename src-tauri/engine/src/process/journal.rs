//! Owns the account of children that outlives the engine: one line for the intention,
//! one for the start, one for the end.
//!
//! Lines are only appended, so that a crash between two of them loses nothing; what has
//! ended is forgotten by [`Journal::compact`]. A journal that cannot be written never
//! stops a forward.

use super::{ChildSpec, platform};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Size from which the ended are forgotten, in bytes: about 300 children.
const COMPACT_AT: u64 = 64 * 1024;

pub(super) struct Journal {
    path: PathBuf,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Line {
    /// A child is about to be started.
    Intent {
        token: String,
        program: PathBuf,
        dir: Option<PathBuf>,
        /// The engine that starts it, with its own start time.
        engine: u32,
        engine_started: Option<String>,
    },
    /// It runs.
    Started { token: String, pid: u32, started: Option<String> },
    /// It has ended.
    Ended { token: String },
}

/// What the lines say about one child that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) token: String,
    pub(super) program: PathBuf,
    pub(super) dir: Option<PathBuf>,
    pub(super) engine: (u32, Option<String>),
    /// Process id and start time; unknown when the engine died in between.
    pub(super) process: Option<(u32, Option<String>)>,
}

impl Journal {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn intend(&self, token: &str, spec: &ChildSpec) {
        let engine = std::process::id();
        self.append(&Line::Intent {
            token: token.to_owned(),
            program: spec.program.clone(),
            dir: spec.dir.clone(),
            engine,
            engine_started: platform::start_time(engine),
        });
    }

    pub(super) fn started(&self, token: &str, pid: u32, started: Option<String>) {
        self.append(&Line::Started { token: token.to_owned(), pid, started });
    }

    pub(super) fn ended(&self, token: &str) {
        self.append(&Line::Ended { token: token.to_owned() });
    }

    /// The children that have not ended, in the order of their start.
    pub(super) fn open_entries(&self) -> Vec<Entry> {
        std::fs::read_to_string(&self.path).map(|text| entries(&text)).unwrap_or_default()
    }

    /// Rewrites the file without what has ended.
    pub(super) fn compact(&self) {
        if let Err(error) = rewrite(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the journal could not be compacted");
        }
    }

    fn append(&self, line: &Line) {
        match write(&self.path, line) {
            Ok(size) if size > COMPACT_AT => self.compact(),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "the journal could not be written");
            }
        }
    }
}

fn write(path: &Path, line: &Line) -> io::Result<u64> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut file = open(path)?;
    file.lock()?;
    // One write call: a crash leaves a whole line or none.
    file.write_all(text.as_bytes())?;
    Ok(file.metadata()?.len())
}

fn rewrite(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut file = open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let open = entries(&text);
    let kept = parse(&text)
        .filter(|(_, line)| open.iter().any(|entry| entry.token == line.token()))
        .fold(String::new(), |kept, (raw, _)| kept + raw + "\n");
    file.set_len(0)?;
    file.write_all(kept.as_bytes())
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// A line cut short by a full disk is skipped, the others still count.
fn parse(text: &str) -> impl Iterator<Item = (&str, Line)> {
    text.lines().filter_map(|raw| Some((raw, serde_json::from_str(raw).ok()?)))
}

fn entries(text: &str) -> Vec<Entry> {
    let mut open: Vec<Entry> = Vec::new();
    for (_, line) in parse(text) {
        match line {
            Line::Intent { token, program, dir, engine, engine_started } => {
                open.push(Entry {
                    token,
                    program,
                    dir,
                    engine: (engine, engine_started),
                    process: None,
                });
            }
            Line::Started { token, pid, started } => {
                if let Some(entry) = open.iter_mut().find(|entry| entry.token == token) {
                    entry.process = Some((pid, started));
                }
            }
            Line::Ended { token } => open.retain(|entry| entry.token != token),
        }
    }
    open
}

impl Line {
    fn token(&self) -> &str {
        match self {
            Line::Intent { token, .. } | Line::Started { token, .. } | Line::Ended { token } => {
                token
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ChildSpec {
        ChildSpec {
            name: "x".into(),
            owner: "test".into(),
            program: "ssh".into(),
            args: vec![],
            env: vec![],
            dir: Some("/tmp/x".into()),
        }
    }

    #[test]
    fn only_what_has_not_ended_stays() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(dir.path().join("children"));
        for token in ["a", "b", "c"] {
            journal.intend(token, &spec());
        }
        journal.started("a", 10, Some("boot:1".into()));
        journal.started("b", 11, None);
        journal.ended("b");
        // A line that a crash cut short.
        std::fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join("children"))
            .unwrap()
            .write_all(b"{\"what\":\"sta\n")
            .unwrap();
        let before = journal.open_entries();
        let tokens: Vec<_> = before.iter().map(|entry| entry.token.as_str()).collect();
        assert_eq!(tokens, ["a", "c"]);
        assert_eq!(before[0].process, Some((10, Some("boot:1".into()))));
        assert_eq!(before[1].process, None);
        journal.compact();
        assert_eq!(journal.open_entries(), before);
        journal.ended("a");
        journal.ended("c");
        journal.compact();
        assert_eq!(std::fs::metadata(dir.path().join("children")).unwrap().len(), 0);
    }
}
