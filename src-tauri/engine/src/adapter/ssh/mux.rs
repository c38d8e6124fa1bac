//! Owns the words spoken on a master's control socket (OpenSSH's PROTOCOL.mux, version 4):
//! hello, proxy, dial, terminate.
//!
//! Receives the socket's path; emits a stream that carries the SSH connection protocol,
//! or the answer to one request.

use super::wire::{self, put_string};
use bytes::{Buf, BufMut, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

const VERSION: u32 = 4;

const HELLO: u32 = 0x0000_0001;
const TERMINATE: u32 = 0x1000_0005;
const NEW_STDIO_FORWARD: u32 = 0x1000_0008;
const PROXY: u32 = 0x1000_000f;
const OK: u32 = 0x8000_0001;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const SESSION_OPENED: u32 = 0x8000_0006;
const PROXY_GRANTED: u32 = 0x8000_000f;

/// Longest answer on the control socket, in bytes: they hold at most a sentence.
const ANSWER_LIMIT: u32 = 64 * 1024;

/// The one request of each connection needs no telling apart.
const REQUEST_ID: u32 = 1;

/// The master's word on a dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// The far side connected.
    Accepted,
    /// It could not or must not.
    Refused,
}

/// Connects and asks for proxy mode: what follows on the stream is the SSH connection
/// protocol.
///
/// # Errors
/// When no master listens there, or it does not know proxy mode (OpenSSH before 7.4).
pub(super) async fn proxy(path: &Path) -> io::Result<UnixStream> {
    let mut stream = greet(path).await?;
    let mut request = BytesMut::new();
    packet(&mut request, PROXY, |_| {});
    stream.write_all(&request).await?;
    match answer(&mut stream).await? {
        PROXY_GRANTED => Ok(stream),
        other => Err(unexpected(other)),
    }
}

/// Asks the far side to dial `host`:`port`, and lets go of the connection again.
///
/// The answer comes only after the far side confirmed or refused; nothing is left behind
/// in the master in either case.
///
/// # Errors
/// When the master cannot be spoken to.
pub(super) async fn dial(path: &Path, host: &str, port: u16) -> io::Result<Dial> {
    let mut stream = greet(path).await?;
    let mut request = BytesMut::new();
    packet(&mut request, NEW_STDIO_FORWARD, |out| {
        put_string(out, b"");
        put_string(out, host.as_bytes());
        out.put_u32(u32::from(port));
    });
    stream.write_all(&request).await?;
    // The far ends stand for the standard input and output of a client.
    let (_input, input) = std::os::unix::net::UnixStream::pair()?;
    let (_output, output) = std::os::unix::net::UnixStream::pair()?;
    send_descriptor(&stream, &input).await?;
    send_descriptor(&stream, &output).await?;
    match answer(&mut stream).await? {
        SESSION_OPENED => Ok(Dial::Accepted),
        FAILURE | PERMISSION_DENIED => Ok(Dial::Refused),
        other => Err(unexpected(other)),
    }
}

/// Asks the master to end.
///
/// # Errors
/// When no master listens there.
pub(super) async fn terminate(path: &Path) -> io::Result<()> {
    let mut stream = greet(path).await?;
    let mut request = BytesMut::new();
    packet(&mut request, TERMINATE, |_| {});
    stream.write_all(&request).await?;
    match answer(&mut stream).await? {
        OK => Ok(()),
        other => Err(unexpected(other)),
    }
}

async fn greet(path: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    let mut hello = BytesMut::new();
    hello.put_u32(8);
    hello.put_u32(HELLO);
    hello.put_u32(VERSION);
    stream.write_all(&hello).await?;
    let mut body = read_packet(&mut stream).await?;
    let (kind, version) = (body.try_get_u32(), body.try_get_u32());
    if (kind, version) == (Ok(HELLO), Ok(VERSION)) {
        Ok(stream)
    } else {
        Err(io::Error::other("the ssh master speaks another version of its protocol"))
    }
}

/// Kind of the next packet; the words that come with a failure go to the master's stderr
/// as well.
async fn answer(stream: &mut UnixStream) -> io::Result<u32> {
    let mut body = read_packet(stream).await?;
    body.try_get_u32().map_err(io::Error::other)
}

async fn read_packet(stream: &mut UnixStream) -> io::Result<BytesMut> {
    let length = stream.read_u32().await?;
    if length > ANSWER_LIMIT {
        return Err(io::Error::other("the ssh master sent a packet that is too long"));
    }
    let mut body = BytesMut::zeroed(length as usize);
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn send_descriptor(stream: &UnixStream, descriptor: &impl AsFd) -> io::Result<()> {
    stream
        .async_io(Interest::WRITABLE, || {
            let descriptors = [descriptor.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let sent = rustix::net::sendmsg(
                stream,
                // One byte has to go along with a descriptor.
                &[IoSlice::new(&[0])],
                &mut control,
                SendFlags::empty(),
            )?;
            if sent == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        })
        .await
}

fn packet(out: &mut BytesMut, kind: u32, body: impl FnOnce(&mut BytesMut)) {
    wire::sized(out, |out| {
        out.put_u32(kind);
        out.put_u32(REQUEST_ID);
        body(out);
    });
}

fn unexpected(kind: u32) -> io::Error {
    io::Error::other(format!("the ssh master answered {kind:#x}"))
}
