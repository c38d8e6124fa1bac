//! Owns the private way between the askpass helper and the engine on Windows: a named
//! pipe that no one can find by its name and that cannot be read without writing first,
//! which only this user may.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

pub(super) struct Listener {
    name: OsString,
    next: NamedPipeServer,
}

impl Listener {
    pub(super) fn bind(_dir: &Path) -> io::Result<(Self, OsString)> {
        let name = OsString::from(format!(r"\\.\pipe\localport-{}", crate::process::token()));
        let next = ServerOptions::new().first_pipe_instance(true).create(&name)?;
        Ok((Self { name: name.clone(), next }, name))
    }

    /// The next helper.
    pub(super) async fn accept(&mut self) -> io::Result<NamedPipeServer> {
        self.next.connect().await?;
        let next = ServerOptions::new().create(&self.name)?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

pub(super) fn connect(address: &OsStr) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(address)
}
