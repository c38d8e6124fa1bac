//! Owns where LocalPort keeps its files.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The places of one user's LocalPort. `LOCALPORT_HOME` moves all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Lock, journal, history and logs; private to the user.
    pub state: PathBuf,
    /// Control socket and the sockets of SSH masters; private to the user.
    pub runtime: PathBuf,
    /// Home directory of the user, for `~` and the configuration's search order.
    pub user: PathBuf,
}

impl Home {
    /// The places as the environment and the platform say.
    ///
    /// # Errors
    /// When the user has no home directory.
    pub fn find() -> io::Result<Self> {
        let user = dirs::home_dir().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "the user has no home directory")
        })?;
        if let Some(root) = env::var_os("LOCALPORT_HOME").filter(|root| !root.is_empty()) {
            return Ok(Self::under(Path::new(&root), user));
        }
        let state = dirs::state_dir()
            .or_else(dirs::data_local_dir)
            .unwrap_or_else(|| user.join(".local/state"))
            .join("localport");
        // Without a runtime directory (macOS, bare logins) the state directory is as private.
        let runtime =
            dirs::runtime_dir().map_or_else(|| state.join("run"), |dir| dir.join("localport"));
        Ok(Self { state, runtime, user })
    }

    /// All places below `root`.
    #[must_use]
    pub fn under(root: &Path, user: PathBuf) -> Self {
        Self { state: root.join("state"), runtime: root.join("run"), user }
    }

    /// Makes the directories, readable by this user only.
    ///
    /// # Errors
    /// When a directory cannot be made or made private.
    pub fn create(&self) -> io::Result<()> {
        for dir in [&self.state, &self.runtime, &self.logs()] {
            fs::create_dir_all(dir)?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            }
        }
        Ok(())
    }

    /// Where the control API listens.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// The file whose lock says that an engine runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// What is written ahead of every step, for the start after a crash.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }

    /// The history.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("localport.db")
    }

    /// What was last known of every target.
    #[must_use]
    pub fn verdicts(&self) -> PathBuf {
        self.state.join("health.json")
    }

    /// Configurations that were in force.
    #[must_use]
    pub fn configs(&self) -> PathBuf {
        self.state.join("configs")
    }

    /// Log files.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
}
