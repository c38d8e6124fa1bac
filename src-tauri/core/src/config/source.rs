//! Owns what a configuration is read from: named texts, the order in which
//! files are looked for, and what is asked of the machine (variables, the home
//! directory, rights, key files) behind [`Env`], so that reading stays pure.

use std::path::{Path, PathBuf};

/// One configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as it shall stand in diagnostics.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    /// A file with its text.
    pub fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into() }
    }
}

/// What reading a configuration asks of the machine.
pub trait Env {
    /// Value of an environment variable; empty when it is set but empty.
    fn var(&self, name: &str) -> Option<String>;

    /// Home directory of the user, for `~`.
    fn home(&self) -> Option<PathBuf>;

    /// Whether ports below 1024 can be bound.
    fn can_bind_privileged(&self) -> bool;

    /// Whether a key file is there and can be read.
    fn file(&self, path: &Path) -> FileState;
}

/// What is known of a file without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// It can be read.
    Readable,
    /// Nothing is there.
    Missing,
    /// It is a directory, or this user may not read it.
    Unreadable,
}

/// Where a configuration is looked for when none is named, first hit first.
///
/// The first six are LocalPort's own on every system; the native places of
/// macOS and Windows follow.
#[must_use]
pub fn search_order(home: &Path, cwd: &Path) -> Vec<PathBuf> {
    let native: &[&str] = if cfg!(target_os = "macos") {
        &["Library/Application Support/localport/config.yaml"]
    } else if cfg!(windows) {
        &["AppData/Roaming/localport/config.yaml"]
    } else {
        &[]
    };
    let machine: &[&str] = if cfg!(windows) {
        &["/etc/localport/config.yaml", "C:/ProgramData/localport/config.yaml"]
    } else {
        &["/etc/localport/config.yaml"]
    };
    let here = ["localport.yaml", "localport.yml", ".localport.yaml"];
    let user = [".localport.yaml", ".config/localport/config.yaml"];
    (here.iter().map(|name| cwd.join(name)))
        .chain(user.iter().chain(native).map(|name| home.join(name)))
        .chain(machine.iter().map(PathBuf::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LocalPort's loader order, which S4.1 keeps.
    #[test]
    #[cfg(target_os = "linux")]
    fn looks_where_localport_looked() {
        let order = search_order(Path::new("/home/u"), Path::new("/project"));
        let expected = [
            "/project/localport.yaml",
            "/project/localport.yml",
            "/project/.localport.yaml",
            "/home/u/.localport.yaml",
            "/home/u/.config/localport/config.yaml",
            "/etc/localport/config.yaml",
        ];
        assert_eq!(order, expected.map(PathBuf::from));
    }
}
