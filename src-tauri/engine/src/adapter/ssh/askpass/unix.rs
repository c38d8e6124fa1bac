//! Owns the private way between the askpass helper and the engine on Unix: a socket in a
//! directory that only this user may enter.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use tokio::net::{UnixListener, UnixStream};

pub(super) struct Listener(UnixListener);

impl Listener {
    pub(super) fn bind(dir: &Path) -> io::Result<(Self, OsString)> {
        let path = dir.join("a");
        Ok((Self(UnixListener::bind(&path)?), path.into()))
    }

    /// The next helper of this user.
    pub(super) async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.0.accept().await?;
            if stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw() {
                return Ok(stream);
            }
        }
    }
}

pub(super) fn connect(address: &OsStr) -> io::Result<BlockingStream> {
    BlockingStream::connect(address)
}
