//! Owns transfers: a server that sends known bytes at a known pace, and clients that
//! compare every byte.

use localport_tests::host::DEADLINE;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a server sends a piece.
const BEAT: Duration = Duration::from_millis(20);

/// Port of a server that sends each client as many bytes as it asks for, in as many
/// milliseconds as it asks for. A client asks with two numbers of four bytes.
pub(crate) fn source() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // At a limit of threads the client is refused, not the test ended.
            let _ = thread::Builder::new().spawn(move || send(client));
        }
    });
    port
}

fn send(mut client: TcpStream) -> std::io::Result<()> {
    let mut asked = [0; 8];
    // A probe connects and asks for nothing.
    client.read_exact(&mut asked)?;
    let number = |at: usize| u32::from_be_bytes(asked[at..at + 4].try_into().unwrap());
    let (size, pace) = (number(0) as usize, Duration::from_millis(number(4).into()));
    let beats = usize::try_from(pace.as_millis() / BEAT.as_millis()).unwrap().max(1);
    let bytes: Vec<u8> = (0..size).map(byte).collect();
    for piece in bytes.chunks(size.div_ceil(beats).max(1)) {
        client.write_all(piece)?;
        thread::sleep(BEAT);
    }
    Ok(())
}

/// What a transfer carries at `index`, so that a lost or doubled byte shows.
fn byte(index: usize) -> u8 {
    (index.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every byte arrived, and then the end.
    Whole,
    /// It broke off. What had arrived was right.
    Cut,
}

/// A transfer that had its first byte.
pub(crate) struct Transfer {
    pub(crate) forward: usize,
    reader: JoinHandle<Outcome>,
}

impl Transfer {
    /// Begins one through `port`, and waits for its first byte.
    pub(crate) fn begin(forward: usize, port: u16, size: u32, pace: Duration) -> Self {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(&asking(size, pace)).unwrap();
        let (first, begun) = channel();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let reader = thread::spawn(move || {
            // Nobody waits any more when it took too long.
            read(client, size as usize, || first.send(()).unwrap_or_default())
        });
        begun.recv_timeout(DEADLINE).expect("the transfer begins");
        Self { forward, reader }
    }

    /// Waits for its end.
    pub(crate) fn outcome(self) -> Outcome {
        self.reader.join().unwrap()
    }
}

/// One from its beginning to its end; none when nobody listens.
pub(crate) fn try_transfer(port: u16, size: u32, pace: Duration) -> Option<Outcome> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    if client.write_all(&asking(size, pace)).is_err() {
        return Some(Outcome::Cut);
    }
    Some(read(client, size as usize, || {}))
}

fn asking(size: u32, pace: Duration) -> Vec<u8> {
    let mut ask = size.to_be_bytes().to_vec();
    ask.extend(u32::try_from(pace.as_millis()).unwrap().to_be_bytes());
    ask
}

fn read(mut client: TcpStream, size: usize, first: impl FnOnce()) -> Outcome {
    let (mut at, mut piece) = (0, vec![0; 64 << 10]);
    let mut first = Some(first);
    loop {
        match client.read(&mut piece) {
            Ok(0) => {
                // A client that has everything closes, as people's programs do.
                let _ = client.shutdown(Shutdown::Both);
                return if at == size { Outcome::Whole } else { Outcome::Cut };
            }
            Ok(read) => {
                for (offset, got) in piece[..read].iter().enumerate() {
                    assert_eq!(*got, byte(at + offset), "byte {} of {size}", at + offset);
                }
                at += read;
                if let Some(first) = first.take() {
                    first();
                }
            }
            Err(error) => {
                let timed_out = error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!timed_out, "nobody told the client after byte {at} of {size}");
                return Outcome::Cut;
            }
        }
    }
}
