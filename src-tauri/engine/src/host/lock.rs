//! Owns that there is one host per user: a lock that falls with its process, and the
//! account of who holds it.

use super::HostError;
use crate::home::Home;
use crate::logs::clock;
use localport_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How often, and how long apart, a second start looks for the account of a host that
/// took the lock a moment ago and is still writing it.
const ACCOUNT_TRIES: u32 = 20;
const ACCOUNT_PAUSE: Duration = Duration::from_millis(25);

/// What kind of host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `localport run`.
    Headless,
    /// The tray app.
    Desktop,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Headless => "headless host",
            Role::Desktop => "desktop app",
        })
    }
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// What kind of host it is.
    pub role: Role,
    /// When it took the lock.
    pub since: Timestamp,
    /// Its version.
    pub version: String,
    /// Where its control API listens.
    pub control: PathBuf,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = clock::now().since(self.since).as_secs();
        write!(f, "{}, process `{}`, since {}", self.role, self.pid, words(age))
    }
}

/// An age in words of one unit.
fn words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The lock, held until it is released or dropped.
pub(super) struct Lock {
    file: File,
    account: PathBuf,
    left: bool,
}

impl Lock {
    /// Takes the lock of `home` for a host of `role` and writes down who holds it.
    pub(super) fn take(home: &Home, role: Role) -> Result<(Self, Owner), HostError> {
        let path = home.lock();
        let failed = |source| HostError::Files { path: home.lock(), source };
        let file = open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => outwait(&file, home)?,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let owner = Owner {
            pid: std::process::id(),
            role,
            since: clock::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            control: home.control_socket(),
        };
        let account = account(home);
        let left = account.exists();
        write(&account, &owner)
            .map_err(|source| HostError::Files { path: account.clone(), source })?;
        Ok((Self { file, account, left }, owner))
    }

    /// Whether the last holder did not release it: its account was still there. Told
    /// also when that holder's disk was full, for removing needs no room.
    pub(super) fn was_left(&self) -> bool {
        self.left
    }

    /// Gives the lock back.
    pub(super) fn release(&self) {
        // The account goes first: who finds the lock free finds no holder named.
        let _ = fs::remove_file(&self.account);
        let _ = self.file.unlock();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

/// Beside the lock, not in it: Windows forbids reading a locked file.
fn account(home: &Home) -> PathBuf {
    home.state.join("owner.json")
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Replaced as a whole, so that a reader never sees half of it.
fn write(path: &Path, owner: &Owner) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec(owner).map_err(io::Error::other)?)?;
    fs::rename(&draft, path)
}

/// Takes a lock that was held a moment ago, or says who holds it. The account of a host
/// that crashed is still there when the next one holds the lock, so a named process must
/// be the living one. A crash may leave the lock with a child that was just being
/// started: it falls when that child has become `ssh`, or has ended.
fn outwait(file: &File, home: &Home) -> Result<(), HostError> {
    for _ in 0..ACCOUNT_TRIES {
        let owner = fs::read(account(home))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
        if let Some(owner) = owner.filter(|owner| is_alive(owner.pid)) {
            return Err(HostError::AlreadyRunning(owner));
        }
        thread::sleep(ACCOUNT_PAUSE);
        if file.try_lock().is_ok() {
            return Ok(());
        }
    }
    Err(HostError::LockHeld { path: home.lock() })
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        // A process of another user exists as well: EPERM, not ESRCH.
        rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
    })
}

#[cfg(not(unix))]
fn is_alive(_pid: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &tempfile::TempDir) -> Home {
        let home = Home::under(dir.path(), dir.path().to_owned());
        home.create().unwrap();
        home
    }

    #[test]
    fn a_second_start_learns_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let (lock, owner) = Lock::take(&home, Role::Desktop).unwrap();
        match Lock::take(&home, Role::Headless) {
            Err(HostError::AlreadyRunning(found)) => {
                assert_eq!(found, owner);
                assert_eq!(found.pid, std::process::id());
                assert_eq!(found.role, Role::Desktop);
            }
            other => panic!("expected the owner, got {:?}", other.err()),
        }
        lock.release();
        assert!(!account(&home).exists());
        Lock::take(&home, Role::Headless).unwrap();
    }

    /// G5: what a crash left holding the lock for a moment does not fail the next start.
    #[test]
    fn g5_a_lock_that_falls_in_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let held = open(&home.lock()).unwrap();
        held.try_lock().unwrap();
        let start = {
            let home = home.clone();
            thread::spawn(move || Lock::take(&home, Role::Headless).map(|(_, owner)| owner))
        };
        thread::sleep(ACCOUNT_PAUSE * 3);
        drop(held);
        assert_eq!(start.join().unwrap().unwrap().pid, std::process::id());
    }

    #[test]
    fn the_account_of_the_dead_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let home = home(&dir);
        let (_lock, owner) = Lock::take(&home, Role::Headless).unwrap();
        // Beyond the largest process number that Linux gives.
        write(&account(&home), &Owner { pid: 0x7fff_fff0, ..owner }).unwrap();
        assert!(matches!(Lock::take(&home, Role::Headless), Err(HostError::LockHeld { .. })));
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!(words(5), "5 s");
        assert_eq!(words(600), "10 min");
        assert_eq!(words(10_000), "2 h");
        assert_eq!(words(400_000), "4 days");
    }
}
