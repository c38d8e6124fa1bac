//! Owns the file of the history as a file: private, set aside when it is damaged; and
//! what can go wrong with it, in words.

use rusqlite::ErrorCode;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the history `{path}` {what}")]
pub struct StoreError {
    path: PathBuf,
    what: What,
}

#[derive(Debug, thiserror::Error)]
enum What {
    #[error("cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("cannot be used: {0}")]
    File(#[from] io::Error),
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error("was written by a newer LocalPort (its form is {0})")]
    Newer(u32),
    #[error("did not take it within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("is not looked after any more")]
    Gone,
}

impl StoreError {
    /// Whether the file is no use any more, so that a new one has to begin.
    pub(super) fn is_damage(&self) -> bool {
        match &self.what {
            What::Damaged(_) => true,
            What::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            What::File(_) | What::Newer(_) | What::Slow(_) | What::Gone => false,
        }
    }

    pub(super) fn damaged(path: &Path, how: String) -> Self {
        Self { path: path.to_owned(), what: What::Damaged(how) }
    }

    pub(super) fn newer(path: &Path, version: u32) -> Self {
        Self { path: path.to_owned(), what: What::Newer(version) }
    }

    pub(super) fn slow(path: &Path, limit: Duration) -> Self {
        Self { path: path.to_owned(), what: What::Slow(limit) }
    }

    pub(super) fn gone(path: &Path) -> Self {
        Self { path: path.to_owned(), what: What::Gone }
    }

    pub(super) fn database(path: &Path, error: rusqlite::Error) -> Self {
        Self { path: path.to_owned(), what: error.into() }
    }

    pub(super) fn file(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), what: error.into() }
    }
}

/// Makes the file if there is none, for this user alone. SQLite gives what it keeps
/// beside the file the same rights.
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(path).and_then(|file| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            if file.metadata()?.permissions().mode() & 0o077 != 0 {
                file.set_permissions(fs::Permissions::from_mode(0o600))?;
            }
        }
        drop(file);
        Ok(())
    });
    made.map_err(|error| StoreError::file(path, error))
}

/// Renames the file and what belongs to it; one damaged file is kept, the last.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = with_suffix(path, ".damaged");
    for suffix in BESIDE {
        // Left in place they would be applied to the new file; most often there is none.
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file(path, error));
            }
            _ => {}
        }
    }
    fs::rename(path, &aside).map_err(|error| StoreError::file(path, error))?;
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
