//! Owns how an open socket is told: its family, its addresses, its peer.

use localport_core::audit::Mark;
use socket2::{Domain, SockAddr, SockRef, Type};
use std::os::fd::{BorrowedFd, RawFd};

/// The socket `number` in words, and what it is recognised by; none when it is closed
/// by now or no socket.
pub(super) fn describe(number: RawFd) -> Option<(String, Mark)> {
    // SAFETY: the descriptor is only asked about while this function runs; when another
    // thread has closed it meanwhile, the system answers with an error.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let socket = SockRef::from(&borrowed);
    let kind = socket.r#type().ok()?;
    let local = socket.local_addr().ok()?;
    let peer = socket.peer_addr().ok();
    let listening = listens(&socket, kind, peer.is_some());
    Some(match local.as_socket() {
        Some(address) => {
            let protocol = if kind == Type::DGRAM { "udp" } else { "tcp" };
            let peer = peer.and_then(|peer| peer.as_socket());
            let rest = match (listening, peer) {
                (true, _) => ", listening".to_owned(),
                (false, Some(peer)) => format!(" with {peer}"),
                (false, None) => String::new(),
            };
            let (local, peer) = (address.to_string(), peer.map(|peer| peer.to_string()));
            (format!("{protocol} {address}{rest}"), Mark::Inet { local, peer, listening })
        }
        None if local.domain() == Domain::UNIX => unix(&local, peer.as_ref(), listening),
        None => (format!("socket of family {:?}", local.domain()), Mark::Unknown),
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn listens(socket: &SockRef<'_>, _kind: Type, _has_peer: bool) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// macOS names `SO_ACCEPTCONN` but does not answer it: a bound stream socket without a
/// peer is what a listener looks like from outside.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn listens(_socket: &SockRef<'_>, kind: Type, has_peer: bool) -> bool {
    kind == Type::STREAM && !has_peer
}

fn unix(local: &SockAddr, peer: Option<&SockAddr>, listening: bool) -> (String, Mark) {
    let path = |address: &SockAddr| Some(address.as_pathname()?.display().to_string());
    match (path(local), peer.and_then(path)) {
        (Some(path), _) => {
            let rest = if listening { ", listening" } else { "" };
            (format!("unix {path}{rest}"), Mark::Local { path, listening })
        }
        (None, Some(peer)) => {
            let mark = Mark::Local { path: peer.clone(), listening: false };
            (format!("unix with {peer}"), mark)
        }
        (None, None) => ("unix without a name".to_owned(), Mark::Unknown),
    }
}
