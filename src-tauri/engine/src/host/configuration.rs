//! Owns the way from files to a configuration: finding them, reading them, and the
//! facts about this machine that their meaning depends on.

mod machine;

pub use machine::Machine;

use crate::home::Home;
use localport_core::config::{self, Config, Diagnostic, Source, search_order};
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than this is not read: the loader refuses it by its size anyway.
const READ_LIMIT: u64 = 64 * 1024 * 1024;

/// A configuration, and where it was looked for.
pub struct Loaded {
    /// What to run, and everything that is wrong, unreadable files among it.
    pub config: Config,
    /// Places looked at, first choice first; empty when files were asked for by name.
    pub searched: Vec<PathBuf>,
    /// The files as they were read.
    pub texts: Vec<(PathBuf, Vec<u8>)>,
    /// The files that are there, or were asked for, and could not be read.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Reads the files named, or the first one of the search order that exists.
#[must_use]
pub fn load(home: &Home, named: &[PathBuf]) -> Loaded {
    let searched = if named.is_empty() { places(home) } else { Vec::new() };
    let files: Vec<PathBuf> = match found(&searched) {
        Some(file) => vec![file.to_owned()],
        None => named.to_vec(),
    };
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for file in &files {
        match read(file) {
            Ok(bytes) => texts.push((file.clone(), bytes)),
            Err(error) => unreadable.push((file.clone(), error)),
        }
    }
    let mut config = understand(home, &texts);
    config.files = files;
    let complaint = |(file, error): &(PathBuf, io::Error)| Diagnostic::unreadable(file, error);
    config.diagnostics.splice(..0, unreadable.iter().map(complaint));
    Loaded { config, searched, texts, unreadable }
}

/// What `texts` amount to on this machine.
#[must_use]
pub fn understand(home: &Home, texts: &[(PathBuf, Vec<u8>)]) -> Config {
    let mut sources = Vec::new();
    let mut complaints = Vec::new();
    for (file, bytes) in texts {
        match std::str::from_utf8(bytes) {
            Ok(text) => sources.push(Source::new(file, text)),
            Err(_) => complaints.push(Diagnostic::not_utf8(file, bytes)),
        }
    }
    let mut config = config::load(&sources, &Machine::new(home));
    config.files = texts.iter().map(|(file, _)| file.clone()).collect();
    config.diagnostics.splice(..0, complaints);
    config
}

/// Where a configuration is looked for, first choice first.
#[must_use]
pub fn places(home: &Home) -> Vec<PathBuf> {
    // Without a working directory (it was removed) its places do not exist either.
    let here = env::current_dir().unwrap_or_default();
    search_order(&home.user, &here)
}

/// The first place where something is, readable or not.
#[must_use]
pub fn found(places: &[PathBuf]) -> Option<&Path> {
    places.iter().find(|place| place.exists()).map(PathBuf::as_path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const GOOD: &str = "version: \"1.0\"\nservices:\n  - {name: a, technology: ssh, \
        local_port: 15001, remote_port: 1, connection: {host: h}}\n";

    fn home(dir: &Path) -> Home {
        Home::under(&dir.join("lp"), dir.to_owned())
    }

    #[test]
    fn named_files_are_read_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.yaml"), dir.path().join("two.yaml"));
        fs::write(&one, GOOD).unwrap();
        fs::write(&two, GOOD.replace("name: a", "name: b").replace("15001", "15002")).unwrap();
        let loaded = load(&home(dir.path()), &[one.clone(), two.clone()]);
        let names: Vec<&str> = loaded.config.forwards.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "{:?}", loaded.config.diagnostics);
        assert_eq!(loaded.config.files, [one, two]);
        assert!(loaded.searched.is_empty());
    }

    #[test]
    fn the_users_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".localport.yaml");
        fs::write(&file, GOOD).unwrap();
        let loaded = load(&home(dir.path()), &[]);
        assert_eq!(loaded.config.files, [file]);
        assert_eq!(loaded.config.forwards.len(), 1);
        assert!(loaded.searched.len() >= 6);
    }

    #[test]
    fn what_cannot_be_read_is_a_complaint_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (gone, binary) = (dir.path().join("gone.yaml"), dir.path().join("binary.yaml"));
        fs::write(&binary, b"version: \"1.0\"\n# \xff\n").unwrap();
        let loaded = load(&home(dir.path()), &[gone.clone(), binary.clone()]);
        let codes: Vec<(&str, &str)> = loaded
            .config
            .diagnostics
            .iter()
            .map(|complaint| (complaint.code.as_str(), complaint.file.as_str()))
            .collect();
        let expected = [("unreadable-file", gone.to_str()), ("not-utf8", binary.to_str())];
        assert_eq!(codes, expected.map(|(code, file)| (code, file.unwrap())));
        assert_eq!(loaded.unreadable[0].0, gone);
    }
}
