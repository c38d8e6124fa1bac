//! Owns the answer to "who holds this port?".

use std::fmt;

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// Its program's name, where the system tells.
    pub name: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "`{name}` (process `{}`)", self.pid),
            None => write!(f, "process `{}`", self.pid),
        }
    }
}

/// The process that listens on local TCP `port`, if this user may see it.
#[must_use]
pub fn owner_of(port: u16) -> Option<Owner> {
    platform::owner_of(port)
}

#[cfg(target_os = "linux")]
mod platform {
    use super::Owner;
    use std::fs;

    /// State `TCP_LISTEN` in /proc/net/tcp.
    const LISTEN: &str = "0A";

    pub(super) fn owner_of(port: u16) -> Option<Owner> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
            let table = fs::read_to_string(table).ok()?;
            table.lines().skip(1).find_map(|line| listening_inode(line, port))
        })?;
        let link = format!("socket:[{inode}]");
        let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| holds(*pid, &link))
            .map(|pid| Owner { pid, name: name(pid) })
    }

    /// Columns of /proc/net/tcp: sl, local address, remote address, state, …, inode (10th).
    fn listening_inode(line: &str, port: u16) -> Option<u64> {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?;
        let (_, local_port) = local.rsplit_once(':')?;
        if u16::from_str_radix(local_port, 16).ok()? != port || columns.nth(1)? != LISTEN {
            return None;
        }
        columns.nth(5)?.parse().ok()
    }

    fn holds(pid: u32, link: &str) -> bool {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files
            .filter_map(Result::ok)
            .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == link))
    }

    fn name(pid: u32) -> Option<String> {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(name.trim_end().to_owned())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_the_inode_of_a_listening_line() {
            let line = "   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 \
                        00:00000000 00000000     0        0 31337 1 0000 100 0 0 10 0";
            assert_eq!(listening_inode(line, 5432), Some(31337));
            assert_eq!(listening_inode(line, 5433), None);
            assert_eq!(listening_inode(&line.replace(" 0A ", " 01 "), 5432), None);
        }
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use super::Owner;
    use std::process::Command;

    /// macOS tells who listens only through its process library; `lsof` is part of the
    /// system and asks that library.
    pub(super) fn owner_of(port: u16) -> Option<Owner> {
        let output = Command::new("/usr/sbin/lsof")
            .args(["-nP", "-sTCP:LISTEN", "-Fpc"])
            .arg(format!("-iTCP:{port}"))
            .output()
            .ok()?;
        super::from_lsof(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The first process in the output of `lsof -Fpc`: a line `p<pid>`, then `c<name>`.
#[cfg(any(target_os = "macos", test))]
fn from_lsof(output: &str) -> Option<Owner> {
    let pid = output.lines().find_map(|line| line.strip_prefix('p')?.parse().ok())?;
    let name = output.lines().find_map(|line| line.strip_prefix('c')).map(str::to_owned);
    Some(Owner { pid, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_process_of_lsof() {
        let owner = from_lsof("p812\ncpostgres\nf7\n");
        assert_eq!(owner, Some(Owner { pid: 812, name: Some("postgres".to_owned()) }));
        assert_eq!(from_lsof(""), None);
    }
}

#[cfg(windows)]
mod platform {
    use super::Owner;
    use netstat2::{
        AddressFamilyFlags, ProtocolFlags, ProtocolSocketInfo, TcpState, get_sockets_info,
    };

    pub(super) fn owner_of(port: u16) -> Option<Owner> {
        let families = AddressFamilyFlags::IPV4 | AddressFamilyFlags::IPV6;
        let sockets = get_sockets_info(families, ProtocolFlags::TCP).ok()?;
        sockets.into_iter().find_map(|socket| match &socket.protocol_socket_info {
            ProtocolSocketInfo::Tcp(tcp)
                if tcp.local_port == port && tcp.state == TcpState::Listen =>
            {
                socket.associated_pids.first().map(|pid| Owner { pid: *pid, name: None })
            }
            _ => None,
        })
    }
}
