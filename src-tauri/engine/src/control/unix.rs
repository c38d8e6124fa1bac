//! Owns the local socket of Unix: its file, its rights, and who may connect.

use crate::home::Home;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use tokio::net::{UnixListener, UnixStream};

pub(super) type Stream = UnixStream;

/// The listening socket.
pub(super) struct Listener {
    socket: UnixListener,
    uid: u32,
}

impl Listener {
    /// Binds in the private runtime directory; a file left by a crash goes first.
    pub(super) fn bind(home: &Home) -> io::Result<Self> {
        let path = home.control_socket();
        remove(home);
        // The directory is 0700, so nobody else can reach the socket before this is done.
        let socket = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { socket, uid: rustix::process::geteuid().as_raw() })
    }

    /// The next client; none when it belongs to another user.
    pub(super) async fn accept(&self) -> io::Result<Option<Stream>> {
        let (stream, _) = self.socket.accept().await?;
        // The kernel says who connected: the file's rights alone would do on Linux,
        // but not on every Unix.
        let peer = stream.peer_cred()?.uid();
        Ok(may_connect(peer, self.uid).then_some(stream))
    }
}

/// The same user, and root, who can do everything anyway.
fn may_connect(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Connects as a client.
pub(super) async fn connect(home: &Home) -> io::Result<Stream> {
    UnixStream::connect(home.control_socket()).await
}

/// Removes the socket's file.
pub(super) fn remove(home: &Home) {
    // Not there is as good as removed; a failure shows at the next bind.
    let _ = fs::remove_file(home.control_socket());
}

#[cfg(test)]
mod tests {
    use super::may_connect;

    #[test]
    fn only_the_same_user_and_root_may_connect() {
        assert!(may_connect(1000, 1000));
        assert!(may_connect(0, 1000));
        assert!(!may_connect(1001, 1000));
        assert!(!may_connect(1000, 0));
    }
}
