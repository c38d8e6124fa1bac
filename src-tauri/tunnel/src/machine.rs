//! Owns a tunnel's state: its streams, what waits to be sent, and what time asks for.
//!
//! Receives frames, bytes from users and the time; emits bytes to send, wakers and
//! deadlines. It knows no socket, so every rule here can be tested without one.

mod send;
mod stream;
mod time;

pub(crate) use stream::{End, Entry};

use crate::frame::{self, Frame, FrameError};
use crate::headers::HeaderEncoder;
use crate::{Config, Reason, StreamError};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// A tunnel is not used beyond this stream id, far from the last one.
const LAST_ID: u32 = 1 << 30;

/// Control bytes that may wait while the peer takes none; reading rests beyond it, so
/// a peer that floods us with pings fills its own window and not our memory.
const CONTROL_LIMIT: usize = 64 * 1024;

/// The state of one tunnel.
pub(crate) struct Machine {
    pub(crate) config: Config,
    encoder: HeaderEncoder,
    streams: HashMap<u32, Entry>,
    next_id: u32,
    requests: u64,
    /// Control frames that wait to be sent, in order.
    control: Vec<u8>,
    /// Streams with something to send, in turn.
    ready: VecDeque<u32>,
    /// Bytes received and not read, of all streams.
    buffered: usize,
    /// Streams that hold more than their share of them.
    stalled: usize,
    /// Since when reading rests.
    paused: Option<Instant>,
    /// Since when a write has made no way.
    blocked: Option<Instant>,
    heard: Instant,
    /// Since when, after the peer's last frame, somebody waits for an answer.
    waiting: Option<Instant>,
    /// Streams whose last bytes, or opening, got no answer yet.
    awaiting: usize,
    /// Silence after which the peer is asked while somebody waits. It grows with each
    /// answer, so that a long poll costs no more than an idle tunnel.
    curiosity: Duration,
    ping: Ping,
    /// Whether silence is judged strictly.
    strict: bool,
    /// Handles outside; see [`Machine::is_unused`].
    pub(crate) handles: usize,
    retired: Option<Reason>,
    end: Option<Reason>,
    discarded: u64,
    driver: Option<Waker>,
    watchers: Vec<Waker>,
    wakes: Vec<Waker>,
}

#[derive(Default)]
struct Ping {
    wanted: bool,
    /// Number of pings sent.
    sent: u32,
    /// Number of the latest one that was answered.
    answered: u32,
    /// Since when an answer is wanted that has not come. It may not even have left:
    /// where the peer takes no more bytes, no ping gets out either.
    since: Option<Instant>,
    /// When the last one was sent.
    last: Option<Instant>,
    rtt: Option<Duration>,
    /// When the doubt in a peer that may have its reasons was last announced, and
    /// whether somebody has yet to hear of it.
    doubted: Option<Instant>,
    announced: bool,
}

impl Ping {
    /// A client's ids are odd.
    fn id(number: u32) -> u32 {
        number.wrapping_mul(2).wrapping_sub(1)
    }

    fn is_open(&self) -> bool {
        self.answered < self.sent
    }
}

/// What a tunnel is doing, as of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Streams that are open.
    pub streams: usize,
    /// Whether a new stream would wait behind another: one that is not read, or a
    /// write that the peer does not take.
    pub stalled: bool,
    /// Whether it takes no more streams.
    pub retired: bool,
    /// Time since the peer's last frame.
    pub silent: Duration,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// Bytes received and not yet read by the streams' users.
    pub buffered: usize,
    /// Bytes that came for streams given up, so far.
    pub discarded: u64,
}

impl Machine {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            encoder: HeaderEncoder::default(),
            streams: HashMap::new(),
            next_id: 1,
            requests: 0,
            control: Vec::new(),
            ready: VecDeque::new(),
            buffered: 0,
            stalled: 0,
            paused: None,
            blocked: None,
            heard: now,
            waiting: None,
            awaiting: 0,
            curiosity: config.ping_waiting,
            ping: Ping::default(),
            strict: false,
            handles: 1,
            retired: None,
            end: None,
            discarded: 0,
            driver: None,
            watchers: Vec::new(),
            wakes: Vec::new(),
        }
    }

    /// The wakers that the last calls made due; to be woken without the lock.
    pub(crate) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }

    pub(crate) fn set_driver(&mut self, waker: &Waker) {
        match &mut self.driver {
            Some(driver) => driver.clone_from(waker),
            None => self.driver = Some(waker.clone()),
        }
    }

    pub(crate) fn drop_handle(&mut self) {
        self.handles -= 1;
        if self.handles == 0 {
            self.nudge();
        }
    }

    fn nudge(&mut self) {
        if let Some(driver) = &self.driver {
            self.wakes.push(driver.clone());
        }
    }

    pub(crate) fn status(&self, now: Instant) -> Status {
        let blocked = self.blocked.is_some_and(|since| now - since >= self.config.write_stall);
        Status {
            streams: self.streams.len(),
            stalled: self.stalled > 0 || self.paused.is_some() || blocked,
            retired: self.retired.is_some() || self.end.is_some() || self.next_id >= LAST_ID,
            silent: now - self.heard,
            rtt: self.ping.rtt,
            buffered: self.buffered,
            discarded: self.discarded,
        }
    }

    /// Opens a stream pair to `port`; its frames go with the next batch.
    pub(crate) fn open(&mut self, port: u16, now: Instant) -> Result<u32, StreamError> {
        if let Some(end) = &self.end {
            return Err(end.clone().into());
        }
        let full = self.streams.len() >= self.config.streams || self.next_id >= LAST_ID;
        if full || self.retired.is_some() {
            return Err(StreamError::Full);
        }
        let (error, data) = (self.next_id, self.next_id + 2);
        self.next_id += 4;
        self.requests += 1;
        let (port_text, request) = (port.to_string(), self.requests.to_string());
        for (id, kind) in [(error, "error"), (data, "data")] {
            let headers = [
                ("streamtype", kind),
                ("port", port_text.as_str()),
                ("requestid", request.as_str()),
            ];
            let block = self.encoder.encode(&headers);
            frame::put_syn(&mut self.control, id, &block);
        }
        self.control.extend_from_slice(&frame::data_head(error, 0, true));
        self.streams.insert(data, Entry::default());
        self.expect(data, now);
        self.nudge();
        Ok(data)
    }

    /// The user of a stream waits for an answer from now on.
    fn expect(&mut self, id: u32, now: Instant) {
        self.waiting.get_or_insert(now);
        self.curiosity = self.config.ping_waiting;
        if let Some(entry) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut entry.awaits, true)
        {
            self.awaiting += 1;
        }
    }

    pub(crate) fn stream(&mut self, id: u32) -> Option<&mut Entry> {
        self.streams.get_mut(&id)
    }

    /// Takes bytes of a stream's user, as many as there is room for.
    pub(crate) fn poll_write(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        bytes: &[u8],
        now: Instant,
    ) -> Poll<Result<usize, StreamError>> {
        let room = self.config.send_buffer;
        let end = self.end.clone();
        let Some(entry) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(end.unwrap_or(Reason::Closed).into()));
        };
        if let Some(End::Failed(error)) = &entry.end {
            return Poll::Ready(Err(error.clone()));
        }
        if entry.fin || entry.end.is_some() {
            return Poll::Ready(Ok(0));
        }
        let room = room.saturating_sub(entry.outbound.len());
        if room == 0 {
            entry.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        entry.outbound.extend_from_slice(&bytes[..count]);
        self.queue(id);
        self.expect(id, now);
        Poll::Ready(Ok(count))
    }

    /// Pending while bytes of the stream wait to be sent.
    pub(crate) fn poll_flush(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let Some(entry) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(())) };
        match &entry.end {
            Some(End::Failed(error)) => Poll::Ready(Err(error.clone())),
            Some(End::Clean) => Poll::Ready(Ok(())),
            None if entry.outbound.is_empty() => Poll::Ready(Ok(())),
            None => {
                entry.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ends the direction towards the node, behind what was written.
    pub(crate) fn finish(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id)
            && !entry.fin
            && entry.end.is_none()
        {
            entry.fin = true;
            self.queue(id);
        }
    }

    fn queue(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id)
            && !entry.queued
        {
            entry.queued = true;
            self.ready.push_back(id);
            self.nudge();
        }
    }

    /// Gives received bytes to a stream's user: at most `limit`, none at its end.
    pub(crate) fn poll_read(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let stream_buffer = self.config.stream_buffer;
        let end = self.end.clone();
        let Some(entry) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(end.unwrap_or(Reason::Closed).into()));
        };
        let was_over = entry.held >= stream_buffer;
        if let Some(piece) = entry.take(limit) {
            self.buffered -= piece.len();
            if was_over && entry.held < stream_buffer {
                self.stalled -= 1;
            }
            if self.paused.is_some() {
                self.nudge();
            }
            return Poll::Ready(Ok(Some(piece)));
        }
        match &entry.end {
            Some(End::Clean) => Poll::Ready(Ok(None)),
            Some(End::Failed(error)) => Poll::Ready(Err(error.clone())),
            None => {
                entry.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// What else was received, after [`Machine::poll_read`] gave something.
    pub(crate) fn read_more(&mut self, id: u32, limit: usize) -> Option<Bytes> {
        if !self.streams.get(&id)?.has_data() {
            return None;
        }
        match self.poll_read(id, &mut Context::from_waker(Waker::noop()), limit) {
            Poll::Ready(Ok(piece)) => piece,
            _ => None,
        }
    }

    /// Forgets a stream whose user has left. The node is told, and what it still sends
    /// is thrown away.
    pub(crate) fn release(&mut self, id: u32) {
        let Some(entry) = self.streams.remove(&id) else { return };
        self.uncount(&entry);
        match entry.end {
            None => frame::put_reset(&mut self.control, id, frame::CANCEL),
            Some(End::Clean) if !entry.fin_sent => {
                self.control.extend_from_slice(&frame::data_head(id, 0, true));
            }
            Some(_) => {}
        }
        self.nudge();
    }

    fn uncount(&mut self, entry: &Entry) {
        self.buffered -= entry.held;
        self.stalled -= usize::from(entry.held >= self.config.stream_buffer);
        self.awaiting -= usize::from(entry.awaits);
    }

    /// Takes a frame in.
    pub(crate) fn take(&mut self, frame: Frame, now: Instant) -> Result<(), FrameError> {
        self.hear(now);
        match frame {
            Frame::Data { stream, data, fin } => self.take_data(stream, data, fin)?,
            Frame::SynReply { stream, fin, .. } => {
                if let Some((entry, is_data)) = self.find(stream)? {
                    if is_data {
                        entry.replied = true;
                    }
                    let waker = entry.reader.take();
                    self.wakes.extend(waker);
                    if fin {
                        self.take_data(stream, Bytes::new(), true)?;
                    }
                }
            }
            Frame::Headers { stream, fin, .. } => {
                self.find(stream)?;
                if fin {
                    self.take_data(stream, Bytes::new(), true)?;
                }
            }
            Frame::Reset { stream, status } => self.take_reset(stream, status)?,
            Frame::Ping { id } if id % 2 == 1 => self.take_pong(id, now),
            Frame::Ping { id } => {
                frame::put_ping(&mut self.control, id);
                self.nudge();
            }
            Frame::GoAway { last, status } => self.take_goaway(last, status),
            // A node opens nothing here; whatever it wants, it does not get it.
            Frame::SynStream { stream, .. } => {
                frame::put_reset(&mut self.control, stream, frame::REFUSED_STREAM);
                self.nudge();
            }
            Frame::Settings(_) | Frame::WindowUpdate { .. } | Frame::Unknown { .. } => {}
        }
        Ok(())
    }

    fn take_reset(&mut self, id: u32, status: u32) -> Result<(), FrameError> {
        if let Some((entry, is_data)) = self.find(id)? {
            let error = entry.said().map_or(StreamError::Reset(status), StreamError::Said);
            self.conclude(if is_data { id } else { id + 2 }, End::Failed(error));
        }
        Ok(())
    }

    /// The peer lives.
    pub(crate) fn hear(&mut self, now: Instant) {
        self.heard = now;
        self.waiting = None;
        self.ping.announced = false;
    }

    /// The stream that `id` is the data or the error half of; none when it was given up.
    fn find(&mut self, id: u32) -> Result<Option<(&mut Entry, bool)>, FrameError> {
        if id.is_multiple_of(2) || id >= self.next_id {
            return Err(FrameError::NoStream(id));
        }
        // Ids come in pairs: 1 and 3, 5 and 7, and so on.
        let is_data = id % 4 == 3;
        let data = if is_data { id } else { id + 2 };
        Ok(self.streams.get_mut(&data).map(|entry| (entry, is_data)))
    }

    fn take_data(&mut self, id: u32, data: Bytes, fin: bool) -> Result<(), FrameError> {
        let Config { stream_buffer, error_text, .. } = self.config;
        let length = data.len();
        let Some((entry, is_data)) = self.find(id)? else {
            self.discarded += length as u64;
            return Ok(());
        };
        if !is_data {
            entry.add_error(&data, error_text);
            // The node says why only when it has sent all data that there will be.
            if fin && let Some(said) = entry.said() {
                self.conclude(id + 2, End::Failed(StreamError::Said(said)));
            }
            return Ok(());
        }
        if entry.end.is_some() {
            self.discarded += length as u64;
            return Ok(());
        }
        let was_over = entry.held >= stream_buffer;
        entry.add(data);
        let awaited = std::mem::take(&mut entry.awaits);
        let is_over = entry.held >= stream_buffer;
        let end = fin.then(|| match entry.said() {
            Some(said) => End::Failed(StreamError::Said(said)),
            None => End::Clean,
        });
        let waker = entry.reader.take();
        self.wakes.extend(waker);
        self.awaiting -= usize::from(awaited);
        self.buffered += length;
        self.stalled += usize::from(is_over && !was_over);
        if let Some(end) = end {
            self.conclude(id, end);
        }
        Ok(())
    }

    /// Ends a stream from the far side; what was received can still be read.
    fn conclude(&mut self, id: u32, end: End) {
        if let Some(entry) = self.streams.get_mut(&id)
            && entry.end.is_none()
        {
            entry.end = Some(end);
            entry.outbound.clear();
            self.awaiting -= usize::from(std::mem::take(&mut entry.awaits));
            self.wakes.extend(entry.reader.take());
            self.wakes.extend(entry.writer.take());
        }
    }

    fn take_pong(&mut self, id: u32, now: Instant) {
        let number = id.div_ceil(2);
        if number <= self.ping.answered || number > self.ping.sent {
            return;
        }
        if number == self.ping.sent {
            self.ping.rtt = self.ping.last.map(|last| now - last);
        }
        // The pings before it may stand behind a pod that does not read.
        self.ping.answered = self.ping.sent;
        self.ping.since = None;
        self.strict = false;
        self.curiosity = (self.curiosity * 2).min(self.config.ping_idle);
        self.wakes.append(&mut self.watchers);
    }

    fn take_goaway(&mut self, last: u32, status: u32) {
        self.retire(Reason::GoAway(status));
        let untaken: Vec<u32> = self.streams.keys().copied().filter(|id| *id > last).collect();
        for id in untaken {
            self.conclude(id, End::Failed(Reason::GoAway(status).into()));
        }
    }

    /// Takes no more streams from now on; ends with the last one.
    pub(crate) fn retire(&mut self, why: Reason) {
        self.retired.get_or_insert(why);
        self.nudge();
    }

    /// Asks for a round trip and gives its number.
    pub(crate) fn ask(&mut self, now: Instant) -> u32 {
        self.ping.since.get_or_insert(now);
        if self.ping.is_open() {
            return self.ping.sent;
        }
        self.ping.wanted = true;
        self.nudge();
        self.ping.sent + 1
    }

    /// The round trip time once the ping with `number` is answered.
    pub(crate) fn poll_answer(
        &mut self,
        number: u32,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Duration, Reason>> {
        if self.ping.answered >= number {
            return Poll::Ready(Ok(self.ping.rtt.unwrap_or_default()));
        }
        self.poll_end(cx).map(Err)
    }

    /// Ready once for each doubt; see [`Machine::tick`].
    pub(crate) fn poll_doubt(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        if self.end.is_none() && std::mem::take(&mut self.ping.announced) {
            return Poll::Ready(Some(()));
        }
        self.poll_end(cx).map(|_| None)
    }

    /// The reason once the tunnel has ended.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        match &self.end {
            Some(end) => Poll::Ready(end.clone()),
            None => {
                if !self.watchers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    self.watchers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
