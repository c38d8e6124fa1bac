//! Owns what macOS shows of this process without special rights: open descriptors and
//! child processes. It names no threads, so there is no check of threads here.

use super::socket;
use localport_core::audit::{Mark, Thing, View};
use std::ffi::CStr;
use std::fs;
use std::os::fd::RawFd;

pub(super) fn look() -> View {
    let (descriptors, sockets) = descriptors().map_or((None, None), |(d, s)| (Some(d), Some(s)));
    View { descriptors, sockets, children: children(), threads: None, files: None }
}

fn descriptors() -> Option<(Vec<Thing>, Vec<Thing>)> {
    let (mut descriptors, mut sockets) = (Vec::new(), Vec::new());
    let numbers: Vec<RawFd> = fs::read_dir("/dev/fd")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        // SAFETY: asks about a number; one that is closed by now gives an error, as the
        // list's own does.
        #[allow(unsafe_code)]
        let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
        if !is_open {
            continue;
        }
        if let Some((name, mark)) = socket::describe(number) {
            // There is no inode to know a socket by; its number and its words have to do.
            sockets.push(Thing { key: format!("{number} {name}"), name, mark });
            continue;
        }
        let (target, mark) = match path(number) {
            Some(path) => (path.clone(), Mark::Path(path)),
            None => ("no file".to_owned(), Mark::Unknown),
        };
        descriptors.push(Thing { name: format!("{number} → {target}"), key: target, mark });
    }
    Some((descriptors, sockets))
}

fn path(number: RawFd) -> Option<String> {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: F_GETPATH writes at most PATH_MAX bytes with their zero into the buffer.
    #[allow(unsafe_code)]
    let found = unsafe { libc::fcntl(number, libc::F_GETPATH, buffer.as_mut_ptr()) };
    if found < 0 {
        return None;
    }
    Some(CStr::from_bytes_until_nul(&buffer).ok()?.to_string_lossy().into_owned())
}

fn children() -> Option<Vec<Thing>> {
    let own = libc::pid_t::try_from(std::process::id()).ok()?;
    let mut pids = [0 as libc::pid_t; 1024];
    let size = libc::c_int::try_from(size_of_val(&pids)).ok()?;
    // SAFETY: the call writes at most `size` bytes into the array that is that long.
    #[allow(unsafe_code)]
    let count = unsafe { libc::proc_listchildpids(own, pids.as_mut_ptr().cast(), size) };
    let count = usize::try_from(count).ok()?;
    let child = |pid: &libc::pid_t| Thing {
        key: pid.to_string(),
        name: format!("process {pid}"),
        mark: Mark::Unknown,
    };
    Some(pids.iter().take(count).map(child).collect())
}
