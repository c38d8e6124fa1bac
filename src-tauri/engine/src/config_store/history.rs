//! Owns the configurations that were in force: the last twenty, by content, with when,
//! who and why; and the way back to one of them.
//!
//! Receives the files of an applied configuration, emits entries and, for a rollback,
//! files in the places of the present ones. The texts may hold passwords: everything here
//! is readable by its owner only, and no text is ever shown.

use super::atomic::{PRIVATE, mode, replace};
use crate::home::Home;
use localport_core::config::reload::Who;
use localport_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Configurations kept.
pub const KEPT: usize = 20;

/// A configuration that was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; a later one has a greater one.
    pub number: u64,
    /// When it came into force.
    pub at: Timestamp,
    /// Who or what had it read.
    pub who: Who,
    /// What it changed.
    pub why: String,
    /// Its files.
    pub files: Vec<Kept>,
}

/// One file of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where it was read.
    pub path: PathBuf,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// A file that a rollback wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The file.
    pub file: PathBuf,
    /// Where its former content lies; none when there was no file.
    pub backup: Option<PathBuf>,
}

/// The configurations of one home.
pub struct History {
    dir: PathBuf,
}

impl History {
    /// Of `home`.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { dir: home.configs() }
    }

    /// The entries, oldest first; none when nothing was kept yet.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        match fs::read(self.dir.join("index.json")) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(error),
        }
    }

    /// Keeps what came into force, unless the last entry has the same content.
    ///
    /// # Errors
    /// What kept it from being written; what is there stays whole.
    pub fn keep(
        &self,
        texts: &[(PathBuf, Vec<u8>)],
        at: Timestamp,
        who: Who,
        why: &str,
    ) -> io::Result<()> {
        let mut entries = self.entries().unwrap_or_default();
        let files: Vec<Kept> = texts
            .iter()
            .map(|(path, text)| Kept { path: path.clone(), sha256: digest(text) })
            .collect();
        if files.is_empty() || entries.last().is_some_and(|last| last.files == files) {
            return Ok(());
        }
        private_dir(&self.dir)?;
        // The contents first: an index never names what is not there.
        for ((_, text), kept) in texts.iter().zip(&files) {
            replace(&self.dir.join(&kept.sha256), text, PRIVATE)?;
        }
        let number = entries.last().map_or(1, |last| last.number + 1);
        entries.push(Entry { number, at, who, why: why.to_owned(), files });
        let surplus = entries.len().saturating_sub(KEPT);
        entries.drain(..surplus);
        replace(&self.dir.join("index.json"), &serde_json::to_vec(&entries)?, PRIVATE)?;
        self.sweep(&entries);
        Ok(())
    }

    /// The texts of an entry, by file.
    ///
    /// # Errors
    /// One is missing, or is not what was kept.
    pub fn texts(&self, entry: &Entry) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        entry.files.iter().map(|kept| Ok((kept.path.clone(), self.text(kept)?))).collect()
    }

    fn text(&self, kept: &Kept) -> io::Result<Vec<u8>> {
        let text = fs::read(self.dir.join(&kept.sha256))?;
        if digest(&text) != kept.sha256 {
            let path = self.dir.join(&kept.sha256);
            let words = format!("`{}` is not what was kept", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(text)
    }

    /// Puts the files of `entry` in their places, each with its present content in a new
    /// file beside it. What a crash interrupts, [`History::recover`] completes.
    ///
    /// # Errors
    /// What kept it from being done. Nothing was replaced if it happened before the
    /// intent was written down; else the rest is done by the next recovery.
    pub fn roll_back(&self, entry: &Entry, now: Timestamp) -> io::Result<Vec<Written>> {
        // Everything is there before anything is touched.
        self.texts(entry)?;
        let mut written = vec![];
        for kept in &entry.files {
            let file = destination(&kept.path);
            written.push(Written { backup: backup(&file, now)?, file });
        }
        replace(&self.intent(), &serde_json::to_vec(entry)?, PRIVATE)?;
        self.recover()?;
        Ok(written)
    }

    /// Completes a rollback that was interrupted; whether there was one.
    ///
    /// # Errors
    /// What kept it from being completed; it is tried again the next time.
    pub fn recover(&self) -> io::Result<bool> {
        let intent = match fs::read(self.intent()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let entry: Entry = serde_json::from_slice(&intent)?;
        for kept in &entry.files {
            let (file, text) = (destination(&kept.path), self.text(kept)?);
            if fs::read(&file).ok().as_deref() != Some(&text) {
                replace(&file, &text, mode(&file))?;
            }
        }
        fs::remove_file(self.intent())?;
        Ok(true)
    }

    fn intent(&self) -> PathBuf {
        self.dir.join("rollback.json")
    }

    /// Removes the contents that no entry names. A rollback's are named: it is of an entry.
    fn sweep(&self, entries: &[Entry]) {
        let named: BTreeSet<&str> =
            entries.iter().flat_map(|e| &e.files).map(|kept| kept.sha256.as_str()).collect();
        let Ok(present) = fs::read_dir(&self.dir) else { return };
        for file in present.flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_content = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
            if is_content && !named.contains(name) {
                // One that stays is swept the next time.
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

/// Where a file really lies: a link to it stays a link.
fn destination(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Copies the present content to a name that nothing has.
fn backup(file: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let seconds = now.0 / 1_000;
    let free = (0..)
        .map(|n: u32| match n {
            0 => file.with_file_name(format!("{name}.bak-{seconds}")),
            n => file.with_file_name(format!("{name}.bak-{seconds}-{n}")),
        })
        .find(|path| fs::symlink_metadata(path).is_err());
    let Some(backup) = free else { return Ok(None) };
    replace(&backup, &text, PRIVATE)?;
    Ok(Some(backup))
}

fn digest(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(dir: &Path) -> History {
        History::new(&Home::under(&dir.join("lp"), dir.to_owned()))
    }

    fn keep(history: &History, file: &Path, text: &str) {
        let texts = [(file.to_owned(), text.as_bytes().to_vec())];
        history.keep(&texts, Timestamp(7_000), Who::File, "1 changed").unwrap();
    }

    /// S4.4: a ring by content: the same again is not kept twice, the oldest goes with its
    /// content.
    #[test]
    fn s4_4_the_last_twenty_are_kept_by_content() {
        let dir = tempfile::tempdir().unwrap();
        let (history, file) = (history(dir.path()), dir.path().join("c.yaml"));
        for number in 0..25 {
            keep(&history, &file, &format!("text {number}"));
            keep(&history, &file, &format!("text {number}"));
        }
        let entries = history.entries().unwrap();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (6..=25).collect::<Vec<u64>>());
        assert_eq!(history.texts(&entries[0]).unwrap()[0].1, b"text 5");
        let contents = fs::read_dir(dir.path().join("lp/state/configs")).unwrap().count();
        assert_eq!(contents, KEPT + 1, "the contents and the index");
    }

    /// S4.4: only the owner may read what may hold passwords.
    #[cfg(unix)]
    #[test]
    fn s4_4_what_is_kept_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (history, file) = (history(dir.path()), dir.path().join("c.yaml"));
        keep(&history, &file, "one");
        fs::write(&file, "two").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let entry = history.entries().unwrap().remove(0);
        let written = history.roll_back(&entry, Timestamp(9_000)).unwrap().remove(0);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&written.backup.unwrap()), 0o600);
        assert_eq!(mode(&file), 0o644, "the person's own file keeps its permissions");
        for kept in fs::read_dir(dir.path().join("lp/state/configs")).unwrap() {
            assert_eq!(mode(&kept.unwrap().path()), 0o600);
        }
    }

    /// S4.4: the way back writes the file behind a link and keeps what was there.
    #[cfg(unix)]
    #[test]
    fn s4_4_a_rollback_keeps_links_and_backups() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (history, link) = (history(&root), root.join("c.yaml"));
        let real = root.join("dotfiles.yaml");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        keep(&history, &link, "old");
        fs::write(&real, "new").unwrap();
        let entry = history.entries().unwrap().remove(0);
        for _ in 0..2 {
            let before = fs::read(&real).unwrap();
            let written = history.roll_back(&entry, Timestamp(9_000)).unwrap().remove(0);
            assert_eq!(written.file, real);
            assert_eq!(fs::read(written.backup.unwrap()).unwrap(), before);
            assert_eq!(fs::read(&link).unwrap(), b"old");
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(root.join("dotfiles.yaml.bak-9")).unwrap(), b"new");
        assert!(!history.recover().unwrap(), "nothing is left to do");
    }

    /// S4.4: interrupted after any file, the recovery completes it: never half.
    #[test]
    fn s4_4_an_interrupted_rollback_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let (history, one, two) =
            (history(dir.path()), dir.path().join("1.yaml"), dir.path().join("2.yaml"));
        let texts = [(one.clone(), b"old 1".to_vec()), (two.clone(), b"old 2".to_vec())];
        history.keep(&texts, Timestamp(1), Who::Start, "").unwrap();
        let entry = history.entries().unwrap().remove(0);
        for done in 0..=2 {
            fs::write(&one, if done > 0 { "old 1" } else { "new 1" }).unwrap();
            fs::write(&two, if done > 1 { "old 2" } else { "new 2" }).unwrap();
            replace(&history.intent(), &serde_json::to_vec(&entry).unwrap(), PRIVATE).unwrap();
            assert!(history.recover().unwrap());
            assert_eq!(fs::read(&one).unwrap(), b"old 1");
            assert_eq!(fs::read(&two).unwrap(), b"old 2");
        }
    }

    /// S4.4: a content that is damaged is never put anywhere.
    #[test]
    fn s4_4_a_damaged_content_is_refused_before_anything_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (history, file) = (history(dir.path()), dir.path().join("c.yaml"));
        keep(&history, &file, "old");
        fs::write(&file, "new").unwrap();
        let entry = history.entries().unwrap().remove(0);
        fs::write(history.dir.join(&entry.files[0].sha256), "rot").unwrap();
        let refused = history.roll_back(&entry, Timestamp(1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(!history.recover().unwrap());
    }
}
