//! Owns the channels that share one master: opening them, sorting what comes in, and
//! one ordered, bounded way out.
//!
//! Receives the stream of a master in proxy mode; emits one [`ChannelStream`] per
//! connection. The reader never waits for a client: what a channel may send us is
//! bounded by its own window, so a stalled client delays nobody else.

use super::carrier::Refusal;
use super::channel::{Channel, ChannelStream};
use super::lost;
use super::wire::{self, Message};
use crate::registry::Tasks;
use bytes::{Buf, BytesMut};
use localport_core::problem::Problem;
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// Frames of data written in one call: at OpenSSH's 32 KiB each, what a relay's large
/// buffer holds.
const BATCH: usize = 8;

/// Bytes asked for in one read from the master.
const READ: usize = 256 * 1024;

/// Receive window of a new channel, in bytes: OpenSSH's own default. What the engine has
/// not read yet waits in the `ssh` process, whose buffer costs time with the square of its
/// length (seen on 9.2: 16 MiB took 4 s of CPU), so that more is granted only where the
/// path needs it.
pub(super) const FIRST_WINDOW: u32 = 2 * 1024 * 1024;

/// All channels of one master. Clones share them.
#[derive(Clone)]
pub(super) struct Channels {
    shared: Arc<Shared>,
}

/// What the channels and the two tasks share.
pub(super) struct Shared {
    socket: UnixStream,
    round_trip: AtomicU64,
    table: Mutex<Table>,
    outbox: Mutex<Outbox>,
    outgoing: Notify,
    heard: Mutex<Instant>,
    ended: watch::Sender<Option<Problem>>,
}

#[derive(Default)]
struct Table {
    channels: HashMap<u32, Arc<Channel>>,
    next: u32,
}

#[derive(Default)]
struct Outbox {
    bytes: BytesMut,
    waiting: VecDeque<Waker>,
}

/// Why a channel was not opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The far side said no.
    Refused(Refusal),
    /// The master's connection ended.
    Ended(Problem),
}

impl Channels {
    /// Runs the protocol on `socket` with two tasks of `tasks`, until the socket ends or
    /// [`Channels::end`] is called.
    pub(super) fn start(socket: UnixStream, tasks: &Tasks) -> Self {
        let shared = Arc::new(Shared {
            socket,
            round_trip: AtomicU64::new(u64::MAX),
            table: Mutex::default(),
            outbox: Mutex::default(),
            outgoing: Notify::new(),
            heard: Mutex::new(Instant::now()),
            ended: watch::Sender::new(None),
        });
        let reader = shared.clone();
        tasks.spawn("ssh channels: in", async move {
            let ended = match read(&reader).await {
                Ok(()) => "the `ssh` process closed its control socket".to_owned(),
                Err(error) => format!("the `ssh` process' control socket failed: {error}"),
            };
            reader.end(lost(ended));
        });
        let writer = shared.clone();
        tasks.spawn("ssh channels: out", async move { writer.write_what_is_left().await });
        Self { shared }
    }

    /// Asks the far side to dial `host`:`port` and waits for its answer. Dropping the
    /// future takes the dial back.
    pub(super) async fn open(&self, host: &str, port: u16) -> Result<ChannelStream, OpenError> {
        self.open_with(|out, id| wire::open_direct(out, id, FIRST_WINDOW, host, port)).await
    }

    /// Opens a session channel in which nothing is run: something to ask about the
    /// connection's health without dialling anything.
    pub(super) async fn open_session(&self) -> Result<ChannelStream, OpenError> {
        self.open_with(wire::open_session).await
    }

    /// Time of the last frame from the far side; any frame is life.
    pub(super) fn heard(&self) -> Instant {
        *lock(&self.shared.heard)
    }

    /// Why it ended; none while it lives.
    pub(super) fn ended(&self) -> watch::Receiver<Option<Problem>> {
        self.shared.ended.subscribe()
    }

    /// Ends every channel with `problem`: reads give a reset. Only the first reason stays.
    pub(super) fn end(&self, problem: Problem) {
        self.shared.end(problem);
    }

    /// Learns from one answer's time; the shortest ever is nearest to the path's own.
    pub(super) fn answered_in(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.round_trip.fetch_min(micros, Ordering::Relaxed);
    }

    async fn open_with(
        &self,
        frame: impl FnOnce(&mut BytesMut, u32),
    ) -> Result<ChannelStream, OpenError> {
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        let channel = self.shared.insert(reply);
        // From here on dropping the stream also gives the channel back.
        let stream = ChannelStream::new(channel.clone(), self.shared.clone());
        if let Some(problem) = self.shared.ended.borrow().clone() {
            return Err(OpenError::Ended(problem));
        }
        self.shared.send(|out| frame(out, channel.id()));
        match answer.await {
            Ok(Ok(())) => {
                self.answered_in(asked.elapsed());
                Ok(stream)
            }
            Ok(Err(refusal)) => Err(OpenError::Refused(refusal)),
            Err(_) => Err(OpenError::Ended(self.shared.reason())),
        }
    }
}

impl Shared {
    /// Sends a control frame. These are small and at most a few per channel, so they
    /// never wait for room.
    pub(super) fn send(&self, frame: impl FnOnce(&mut BytesMut)) {
        let mut outbox = lock(&self.outbox);
        frame(&mut outbox.bytes);
        self.push(&mut outbox);
    }

    /// Sends what the socket takes of `bytes`, in frames of at most `max_packet`, and gives
    /// how much that was; waits while earlier bytes are still on their way. Data goes from
    /// the caller's buffer to the socket: only the rest of a frame that was cut short is
    /// kept, so a keystroke never queues behind more than one frame.
    pub(super) fn poll_send(
        &self,
        context: &mut Context<'_>,
        remote: u32,
        bytes: &[u8],
        max_packet: usize,
    ) -> Poll<usize> {
        let mut outbox = lock(&self.outbox);
        self.push(&mut outbox);
        if !outbox.bytes.is_empty() {
            let waker = context.waker();
            if !outbox.waiting.iter().any(|waiting| waiting.will_wake(waker)) {
                outbox.waiting.push_back(waker.clone());
            }
            return Poll::Pending;
        }
        let pieces: Vec<&[u8]> = bytes.chunks(max_packet.max(1)).take(BATCH).collect();
        let heads: Vec<_> = pieces.iter().map(|piece| wire::data_head(remote, piece)).collect();
        let slices: Vec<IoSlice<'_>> = heads
            .iter()
            .zip(&pieces)
            .flat_map(|(head, piece)| [IoSlice::new(head), IoSlice::new(piece)])
            .collect();
        // Full, or broken, which the reader learns as well: the first frame waits whole.
        let mut written = self.socket.try_write_vectored(&slices).unwrap_or(0);
        let mut taken = 0;
        for (head, piece) in heads.iter().zip(&pieces) {
            taken += piece.len();
            let frame = head.len() + piece.len();
            if written >= frame {
                written -= frame;
                continue;
            }
            outbox.bytes.extend_from_slice(&head[written.min(head.len())..]);
            outbox.bytes.extend_from_slice(&piece[written.saturating_sub(head.len())..]);
            self.outgoing.notify_one();
            break;
        }
        Poll::Ready(taken)
    }

    /// The connection's round trip as far as it is known; none before the first answer.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        match self.round_trip.load(Ordering::Relaxed) {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Writes at once what the socket takes: a hop to another task would cost a
    /// keystroke more than the write.
    fn push(&self, outbox: &mut Outbox) {
        while !outbox.bytes.is_empty() {
            match self.socket.try_write(&outbox.bytes) {
                Ok(size) if size > 0 => outbox.bytes.advance(size),
                // Full, or broken, which the reader learns as well.
                _ => {
                    self.outgoing.notify_one();
                    return;
                }
            }
        }
        // Whoever empties the way out tells those who wait for it: the writing task may
        // find nothing left to do.
        for waker in outbox.waiting.drain(..) {
            waker.wake();
        }
    }

    /// Writes what [`Shared::push`] could not, whenever the socket takes more.
    async fn write_what_is_left(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            tokio::select! {
                () = self.outgoing.notified() => {}
                _ = ended.wait_for(Option::is_some) => return,
            }
            while !lock(&self.outbox).bytes.is_empty() {
                if self.socket.writable().await.is_err() {
                    return;
                }
                let mut outbox = lock(&self.outbox);
                match self.socket.try_write(&outbox.bytes) {
                    Ok(size) => outbox.bytes.advance(size),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => {
                        drop(outbox);
                        self.end(lost(format!("the `ssh` process' socket failed: {error}")));
                        return;
                    }
                }
                for waker in outbox.waiting.drain(..) {
                    waker.wake();
                }
            }
        }
    }

    pub(super) fn forget(&self, id: u32) {
        lock(&self.table).channels.remove(&id);
    }

    /// Why it ended; to be asked only after it did.
    pub(super) fn reason(&self) -> Problem {
        self.ended.borrow().clone().unwrap_or_else(|| lost("the SSH connection ended".into()))
    }

    fn insert(&self, reply: oneshot::Sender<Result<(), Refusal>>) -> Arc<Channel> {
        let mut table = lock(&self.table);
        let id = loop {
            let id = table.next;
            table.next = table.next.wrapping_add(1);
            if !table.channels.contains_key(&id) {
                break id;
            }
        };
        let channel = Arc::new(Channel::opening(id, reply));
        table.channels.insert(id, channel.clone());
        channel
    }

    fn find(&self, id: u32) -> Option<Arc<Channel>> {
        lock(&self.table).channels.get(&id).cloned()
    }

    fn end(&self, problem: Problem) {
        let first = self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(problem);
            first
        });
        if !first {
            return;
        }
        let channels: Vec<_> = lock(&self.table).channels.drain().map(|(_, it)| it).collect();
        for channel in channels {
            channel.lost();
        }
        for waker in lock(&self.outbox).waiting.drain(..) {
            waker.wake();
        }
    }

    fn dispatch(self: &Arc<Self>, message: Message<'_>) -> io::Result<()> {
        match message {
            Message::Opened { id, remote, window, max_packet } => {
                if let Some(channel) = self.find(id) {
                    channel.opened(self, remote, window, max_packet);
                }
            }
            Message::Refused { id, reason, text } => {
                if let Some(channel) = self.find(id) {
                    self.forget(id);
                    channel.refused(Refusal { reason, text });
                }
            }
            Message::Window { id, more } => self.to(id, |channel| channel.more_credit(more)),
            Message::Data { id, bytes } => {
                if let Some(channel) = self.find(id) {
                    channel.received(bytes)?;
                }
            }
            Message::Eof { id } => self.to(id, Channel::ended_by_peer),
            Message::Close { id } => {
                if let Some(channel) = self.find(id) {
                    self.forget(id);
                    channel.closed_by_peer(self);
                }
            }
            Message::Answer { id } => self.to(id, Channel::answered),
            Message::Asked { id } => {
                if let Some(remote) = self.find(id).and_then(|channel| channel.remote()) {
                    self.send(|out| wire::failure(out, remote));
                }
            }
            Message::Other => {}
        }
        Ok(())
    }

    /// A message about a channel that is gone crossed our close: nothing to do.
    fn to(&self, id: u32, act: impl FnOnce(&Channel)) {
        if let Some(channel) = self.find(id) {
            act(&channel);
        }
    }
}

async fn read(shared: &Arc<Shared>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        shared.socket.readable().await?;
        buffer.reserve(READ);
        match shared.socket.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        *lock(&shared.heard) = Instant::now();
        while let Some(length) = wire::frame_length(&buffer).map_err(|_| malformed())? {
            shared.dispatch(wire::parse(&buffer[..length]).map_err(|_| malformed())?)?;
            buffer.advance(length);
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it sent something that is no SSH message")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is a few assignments that cannot panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
