//! Owns what a configuration asks of this machine: variables, home, rights, files.

use crate::home::Home;
use localport_core::config::{Env, FileState};
use std::env;
#[cfg(any(target_os = "linux", test))]
use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// This machine.
pub struct Machine {
    user: PathBuf,
}

impl Machine {
    /// This machine, for the user of `home`.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { user: home.user.clone() }
    }
}

impl Env for Machine {
    fn var(&self, name: &str) -> Option<String> {
        // A value that is no text cannot stand in a text.
        env::var(name).ok()
    }

    fn home(&self) -> Option<PathBuf> {
        Some(self.user.clone())
    }

    fn can_bind_privileged(&self) -> bool {
        can_bind_privileged()
    }

    fn file(&self, path: &Path) -> FileState {
        if path.is_dir() {
            return FileState::Unreadable;
        }
        match File::open(path) {
            Ok(_) => FileState::Readable,
            Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
            Err(_) => FileState::Unreadable,
        }
    }
}

/// Linux: the capability, or a system that lowered the line (as containers do).
#[cfg(target_os = "linux")]
fn can_bind_privileged() -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let line = read("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let lowered = line.trim().parse::<u32>().is_ok_and(|start| start < 1_024);
    lowered || has_bind_capability(&read("/proc/self/status"))
}

/// Whether the effective capabilities in a `/proc/PID/status` hold `CAP_NET_BIND_SERVICE`.
#[cfg(target_os = "linux")]
fn has_bind_capability(status: &str) -> bool {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << CAP_NET_BIND_SERVICE) != 0)
}

/// Other Unix systems ask for root on loopback addresses.
#[cfg(all(unix, not(target_os = "linux")))]
fn can_bind_privileged() -> bool {
    rustix::process::geteuid().is_root()
}

/// Windows has no privileged ports.
#[cfg(windows)]
fn can_bind_privileged() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(&Home::under(dir.path(), dir.path().to_owned()));
        fs::write(dir.path().join("key"), "x").unwrap();
        assert_eq!(machine.file(&dir.path().join("key")), FileState::Readable);
        assert_eq!(machine.file(&dir.path().join("none")), FileState::Missing);
        assert_eq!(machine.file(dir.path()), FileState::Unreadable);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_capability_is_read_from_its_bit() {
        assert!(has_bind_capability("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(has_bind_capability("CapEff:\t000001ffffffffff\n"));
        assert!(!has_bind_capability("CapEff:\t00000000a80421fb\n".replace("04", "00").as_str()));
        assert!(!has_bind_capability("CapPrm:\t0000000000000400\n"));
    }
}
