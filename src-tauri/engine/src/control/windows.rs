//! Owns the named pipe of Windows: its name and who may connect.

use crate::home::Home;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::tokio::{Listener as PipeListener, Stream as PipeStream};
use interprocess::local_socket::{GenericNamespaced, ListenerOptions, Name};
use interprocess::os::windows::local_socket::ListenerOptionsExt;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use widestring::u16cstr;

pub(super) type Stream = PipeStream;

/// The listening pipe.
pub(super) struct Listener {
    pipe: PipeListener,
}

impl Listener {
    /// Makes the pipe for its owner only: protected from inherited rights, one entry,
    /// full access for the owner.
    pub(super) fn bind(home: &Home) -> io::Result<Self> {
        let owner_only = SecurityDescriptor::deserialize(u16cstr!("D:P(A;;GA;;;OW)"))?;
        let pipe = ListenerOptions::new()
            .name(name(home)?)
            .security_descriptor(owner_only)
            .create_tokio()?;
        Ok(Self { pipe })
    }

    /// The next client. The system has checked already that it is the owner.
    pub(super) async fn accept(&self) -> io::Result<Option<Stream>> {
        self.pipe.accept().await.map(Some)
    }
}

/// Connects as a client.
pub(super) async fn connect(home: &Home) -> io::Result<Stream> {
    Stream::connect(name(home)?).await
}

/// A pipe goes with its listener.
pub(super) fn remove(_home: &Home) {}

/// One pipe for each home; the name need not be secret.
fn name(home: &Home) -> io::Result<Name<'static>> {
    let mut hasher = DefaultHasher::new();
    home.control_socket().hash(&mut hasher);
    format!("localport-{:016x}", hasher.finish()).to_ns_name::<GenericNamespaced>()
}
