//! Owns why a host could not start.

use super::Owner;
use std::io;
use std::path::PathBuf;

/// Why a host could not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Another host of this user runs.
    #[error("LocalPort already runs: {0}")]
    AlreadyRunning(Owner),
    /// The lock is held, but the holder did not say who it is.
    #[error("another process holds the lock `{path}`")]
    LockHeld {
        /// The lock.
        path: PathBuf,
    },
    /// A file or directory of our own cannot be made, opened or made private.
    #[error("cannot use `{path}`: {source}")]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration file that was asked for by name cannot be read.
    #[error("cannot read the configuration `{path}`: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The control API cannot listen.
    #[error("cannot listen on the control socket `{path}`: {source}")]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HostError {
    /// What the person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            HostError::AlreadyRunning(_) => {
                "use it as it is, or end it with `localport quit`".to_owned()
            }
            HostError::LockHeld { .. } => "try again in a second".to_owned(),
            HostError::Files { path, .. } => {
                format!("make `{}` writable for you, or set LOCALPORT_HOME", path.display())
            }
            HostError::Config { .. } => "check the name given to `--config`".to_owned(),
            HostError::Control { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                "set LOCALPORT_HOME to a shorter path".to_owned()
            }
            HostError::Control { path, .. } => {
                format!("make the directory of `{}` writable for you", path.display())
            }
        }
    }
}
