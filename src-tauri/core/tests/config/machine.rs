//! A machine whose every answer the test has given.

use localport_core::config::{Config, Env, FileState, Source, load};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) struct Machine {
    vars: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, FileState>,
    privileged: bool,
}

impl Machine {
    /// User `u` at home in `/home/u`, without variables, files or rights.
    pub(crate) fn bare() -> Self {
        Self { vars: BTreeMap::new(), files: BTreeMap::new(), privileged: false }
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn file(mut self, path: &str, state: FileState) -> Self {
        self.files.insert(PathBuf::from(path), state);
        self
    }

    pub(crate) fn privileged(mut self) -> Self {
        self.privileged = true;
        self
    }

    /// Loads one file named `a.yaml`.
    pub(crate) fn load(&self, text: &str) -> Config {
        load(&[Source::new("a.yaml", text)], self)
    }
}

impl Env for Machine {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn home(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/u"))
    }

    fn can_bind_privileged(&self) -> bool {
        self.privileged
    }

    fn file(&self, path: &Path) -> FileState {
        self.files.get(path).copied().unwrap_or(FileState::Missing)
    }
}
