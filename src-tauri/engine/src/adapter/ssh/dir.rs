//! Owns the private directory of one master: short enough for a socket's name, readable
//! by this user only, gone with its owner.

use crate::journal::Journal;
use crate::process::DIR_PREFIX;
use crate::registry::{Lease, LeaseKind, Registry};
use localport_core::journal::Entry;
use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};

/// Longest name of a socket, in bytes: `sun_path` of macOS is 104 with its final zero,
/// that of Linux 108.
const NAME_LIMIT: usize = 103;

/// `ssh` binds a temporary name first: the path, a dot and 16 characters.
const TEMPORARY_SUFFIX: usize = 17;

/// A directory that is removed when it is dropped.
pub(super) struct PrivateDir {
    path: PathBuf,
    registry: Registry,
    journal: Journal,
    _lease: Lease,
}

impl PrivateDir {
    /// Makes one below `runtime`, or below the system's temporary directory when that
    /// name would be too long for a socket.
    ///
    /// # Errors
    /// When neither can be made.
    pub(super) async fn make(
        runtime: &Path,
        registry: &Registry,
        journal: &Journal,
    ) -> io::Result<Self> {
        let token = crate::process::token();
        let name = format!("{DIR_PREFIX}{}", token.get(..12).unwrap_or(&token));
        let below =
            if fits(&runtime.join(&name)) { runtime.to_owned() } else { std::env::temp_dir() };
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt;
            builder.mode(0o700);
        }
        builder.recursive(true).create(&below)?;
        let path = below.join(name);
        journal.ahead(vec![Entry::FileMade { path: path.clone() }]).await;
        // Not recursive: a directory that is there already may be somebody else's.
        builder.recursive(false).create(&path)?;
        let lease = registry.lease(LeaseKind::File, path.display().to_string(), "ssh");
        Ok(Self { path, registry: registry.clone(), journal: journal.clone(), _lease: lease })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Name of a socket in it.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("m")
    }

    fn remove(&self) -> io::Result<()> {
        // Without descriptors nothing can be listed, and what is known can still be removed.
        match std::fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!("{}: {error}", self.socket().display());
            }
            _ => {}
        }
        std::fs::remove_dir(&self.path).or_else(|_| std::fs::remove_dir_all(&self.path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let path = self.path.display();
            self.registry.fault(format!("`{path}` could not be removed: {error}"));
            // The next start tries again.
            return;
        }
        self.journal.put(Entry::FileGone { path: std::mem::take(&mut self.path) });
    }
}

fn fits(dir: &Path) -> bool {
    dir.as_os_str().len() + "/m".len() + TEMPORARY_SUFFIX <= NAME_LIMIT
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_long_runtime_directory_is_left_for_the_temporary_one() {
        let registry = Registry::default();
        let short = tempfile::tempdir_in("/tmp").unwrap();
        let dir = PrivateDir::make(short.path(), &registry, &Journal::nowhere()).await.unwrap();
        assert!(dir.path().starts_with(short.path()));
        assert_eq!(dir.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(registry.list().len(), 1);
        let gone = dir.path().to_owned();
        drop(dir);
        assert!(!gone.exists());
        assert!(registry.list().is_empty());

        let long = short.path().join("x".repeat(90));
        let dir = PrivateDir::make(&long, &registry, &Journal::nowhere()).await.unwrap();
        assert!(fits(dir.path()), "{}", dir.path().display());
        assert!(!dir.path().starts_with(&long));
    }
}
