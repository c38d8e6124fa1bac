//! Owns a double of a node's port-forward, with the habits of a real one.
//!
//! It shares no code with the client it is for: a mistake there must not cancel out
//! here. What it imitates was measured on a real node (containerd behind spdystream):
//!
//! 1. A header block that does not end with an empty stored block breaks the next one:
//!    GOAWAY, and the connection closes.
//! 2. Frames go to five workers by stream id (pings in turn), fifty to a queue; data is
//!    handed over without a buffer. So a dial that is refused after data was sent
//!    blocks a worker for ever, and with it, soon, everything.
//! 3. A stream that the client gives up goes on sending for a second.
//! 4. One writer: a bulk download is in the way of other opens.
//! 5. Closing by RST or by FIN makes no difference.
//! 6. When one direction ends the other gets one second, whatever is still to come.

use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

/// What the runtime lets pass between the end of one direction and the end of all.
pub const GRACE: Duration = Duration::from_secs(1);

const WORKERS: usize = 5;
const QUEUE: usize = 50;

/// The runtime's buffer, and so its largest data frame.
const CHUNK: usize = 32 * 1024;

/// How a node reaches the port of a pod, or what it says when it cannot. The token is
/// cancelled when the pod goes.
pub type Dial = Arc<
    dyn Fn(u16) -> BoxFuture<'static, Result<(TcpStream, CancellationToken), String>> + Send + Sync,
>;

/// What a node has done so far, and what it is told to do. Clones share it.
#[derive(Clone)]
pub struct Node {
    dial: Dial,
    switches: Arc<Switches>,
}

/// Counters and faults of a node.
#[derive(Default)]
pub struct Switches {
    /// Stream pairs opened.
    pub opened: AtomicUsize,
    /// Stream pairs whose pod connection is open.
    pub live: AtomicUsize,
    /// Dials that failed.
    pub refused: AtomicUsize,
    /// RST frames from the client.
    pub resets: AtomicUsize,
    /// Pings from the client.
    pub pings: AtomicUsize,
    /// Tunnels served so far.
    pub tunnels: AtomicUsize,
    /// Data bytes from the client.
    pub received: AtomicU64,
    /// Data bytes to the client.
    pub sent: AtomicU64,
    /// Writes of the client that arrived: WebSocket messages, or reads.
    pub messages: AtomicUsize,
    /// Answer no pings, as a half-working proxy has it.
    pub mute: AtomicBool,
    /// After so many bytes to the client (plus one, 0 is never) the path is dead:
    /// nothing is read and nothing is sent, and nobody says so.
    pub hole_after: AtomicU64,
    /// What the client did that SPDY or a node does not allow.
    pub violations: Mutex<Vec<String>>,
    goaway: Mutex<Vec<CancellationToken>>,
}

impl Switches {
    /// Sends GOAWAY on every tunnel.
    pub fn go_away(&self) {
        for token in lock(&self.goaway).drain(..) {
            token.cancel();
        }
    }

    /// Fails when the client did what it must not.
    pub fn assert_lawful(&self) {
        let violations = lock(&self.violations);
        assert!(violations.is_empty(), "{violations:?}");
    }

    fn violation(&self, what: impl Into<String>) {
        lock(&self.violations).push(what.into());
    }

    fn is_hole(&self) -> bool {
        let after = self.hole_after.load(Ordering::Relaxed);
        after > 0 && self.sent.load(Ordering::Relaxed) + 1 >= after
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a node says when nobody listens on the pod's port.
pub fn refusal(port: u16) -> String {
    format!(
        "error forwarding port {port} to pod 0, uid : failed to execute portforward in network namespace \"/var/run/netns/cni-0\": failed to connect to localhost:{port} inside namespace \"0\", IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6: address localhost: no suitable address found "
    )
}

impl Node {
    /// A node that reaches ports by `dial`.
    pub fn new(dial: Dial) -> Self {
        Self::with(dial, Arc::default())
    }

    /// A node that shares the counters and faults of others.
    pub fn with(dial: Dial, switches: Arc<Switches>) -> Self {
        Self { dial, switches }
    }

    /// Counters and faults.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Serves a tunnel directly on `io`, until the client leaves.
    pub async fn serve_raw<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.switches.tunnels.fetch_add(1, Ordering::Relaxed);
        let (read, write) = tokio::io::split(io);
        let all = CancellationToken::new();
        let _end = all.clone().drop_guard();
        let (frames, outbox) = mpsc::channel(1);
        spawn(&all, send_all(write, outbox, self.switches.clone()));
        let goaway = CancellationToken::new();
        lock(&self.switches.goaway).push(goaway.clone());
        let farewell = frames.clone();
        spawn(&all, async move {
            goaway.cancelled().await;
            drop(farewell.send(control(7, &[0, 0, 0, 0, 0, 0, 0, 0])).await);
        });
        let tunnel = Arc::new(TunnelState {
            node: self.clone(),
            frames,
            streams: Mutex::default(),
            pairs: Mutex::default(),
            replies: tokio::sync::Mutex::default(),
            all: all.clone(),
        });
        tunnel.read_all(read).await;
    }

    /// Serves a tunnel inside the binary messages of a WebSocket.
    pub async fn serve_websocket<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let switches = self.switches.clone();
        tokio::join!(self.serve_raw(near), carry(socket, far, switches));
    }
}

/// Copies between a WebSocket and plain bytes.
async fn carry<T>(socket: WebSocketStream<T>, bytes: DuplexStream, switches: Arc<Switches>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let (mut read, mut write) = tokio::io::split(bytes);
    let inward = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(data) => {
                    switches.messages.fetch_add(1, Ordering::Relaxed);
                    if write.write_all(&data).await.is_err() {
                        return;
                    }
                }
                Message::Close(_) => return,
                Message::Text(_) => switches.violation("a text message"),
                _ => {}
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; CHUNK + 8];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            if sink.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = inward => {}, () = outward => {} }
    drop(sink.close().await);
}

fn spawn(all: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let all = all.clone();
    tokio::spawn(async move { all.run_until_cancelled(work).await });
}

async fn send_all<W: AsyncWrite + Unpin>(
    mut write: W,
    mut outbox: mpsc::Receiver<Vec<u8>>,
    switches: Arc<Switches>,
) {
    while let Some(frame) = outbox.recv().await {
        if switches.is_hole() {
            std::future::pending::<()>().await;
        }
        let data = frame[0] & 0x80 == 0;
        if data {
            // Counted before they go: whoever has read them may look at once.
            switches.sent.fetch_add(frame.len() as u64 - 8, Ordering::Relaxed);
        }
        if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}

struct TunnelState {
    node: Node,
    frames: mpsc::Sender<Vec<u8>>,
    streams: Mutex<HashMap<u32, Arc<StreamState>>>,
    pairs: Mutex<HashMap<String, Half>>,
    replies: tokio::sync::Mutex<bool>,
    all: CancellationToken,
}

struct Half {
    kind: String,
    id: u32,
}

/// A stream as spdystream has it: data waits for whoever reads it.
struct StreamState {
    data: mpsc::Sender<(Vec<u8>, oneshot::Sender<()>)>,
    inbox: Mutex<Option<Inbox>>,
    /// Both sides are through with it: what comes is thrown away.
    closed: CancellationToken,
    /// The client ended or reset its direction.
    ended: CancellationToken,
}

type Inbox = mpsc::Receiver<(Vec<u8>, oneshot::Sender<()>)>;

enum Work {
    Open { id: u32, headers: HashMap<String, String> },
    Data { id: u32, data: Vec<u8>, fin: bool },
    Reset { id: u32 },
    Ping { id: [u8; 4] },
}

impl TunnelState {
    async fn read_all<R: AsyncRead + Unpin>(self: &Arc<Self>, mut read: R) {
        let queues: Vec<mpsc::Sender<Work>> = (0..WORKERS)
            .map(|_| {
                let (queue, mut work) = mpsc::channel(QUEUE);
                let this = self.clone();
                spawn(&self.all, async move {
                    while let Some(work) = work.recv().await {
                        this.work(work).await;
                    }
                });
                queue
            })
            .collect();
        let mut blocks = Blocks::default();
        let mut turn = 0;
        let mut input = BytesMut::with_capacity(64 * 1024);
        loop {
            while input.len() < 8 || input.len() < 8 + length(&input) {
                if self.node.switches.is_hole() {
                    std::future::pending::<()>().await;
                }
                match read.read_buf(&mut input).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
            let total = 8 + length(&input);
            let frame = input.split_to(total);
            let work = match self.understand(&frame, &mut blocks) {
                Ok(Some(work)) => work,
                Ok(None) => continue,
                Err(why) => {
                    self.node.switches.violation(why);
                    drop(self.frames.send(control(7, &[0, 0, 0, 0, 0, 0, 0, 1])).await);
                    // Until it is out.
                    drop(self.frames.reserve().await);
                    return;
                }
            };
            let worker = match &work {
                Work::Open { id, .. } | Work::Data { id, .. } | Work::Reset { id } => {
                    *id as usize % WORKERS
                }
                Work::Ping { .. } => {
                    turn = (turn + 1) % WORKERS;
                    turn
                }
            };
            if queues[worker].send(work).await.is_err() {
                return;
            }
        }
    }

    fn understand(&self, frame: &[u8], blocks: &mut Blocks) -> Result<Option<Work>, String> {
        let switches = &self.node.switches;
        let body = &frame[8..];
        let id = |at: usize| word(body, at) & 0x7fff_ffff;
        if frame[0] & 0x80 == 0 {
            let id = word(frame, 0);
            switches.received.fetch_add(body.len() as u64, Ordering::Relaxed);
            return Ok(Some(Work::Data { id, data: body.to_vec(), fin: frame[4] & 1 == 1 }));
        }
        if frame[..2] != [0x80, 3] {
            return Err(format!("a frame of version {:?}", &frame[..2]));
        }
        Ok(match u16::from_be_bytes([frame[2], frame[3]]) {
            1 => {
                let headers = blocks.read(&body[10..])?;
                Some(Work::Open { id: id(0), headers })
            }
            3 => {
                switches.resets.fetch_add(1, Ordering::Relaxed);
                Some(Work::Reset { id: id(0) })
            }
            6 => {
                switches.pings.fetch_add(1, Ordering::Relaxed);
                if word(body, 0).is_multiple_of(2) {
                    return Err("a client's ping with an even id".to_owned());
                }
                Some(Work::Ping { id: [body[0], body[1], body[2], body[3]] })
            }
            7 => None,
            kind => return Err(format!("a frame of type {kind}")),
        })
    }

    async fn work(self: &Arc<Self>, work: Work) {
        match work {
            Work::Open { id, headers } => self.open(id, headers).await,
            Work::Data { id, data, fin } => {
                let stream = lock(&self.streams).get(&id).cloned();
                let Some(stream) = stream else {
                    return self.node.switches.violation(format!("data for stream {id}"));
                };
                if !data.is_empty() {
                    let (taken, took) = oneshot::channel();
                    // Unbuffered: this worker waits until it is taken, or the stream over.
                    let hand_over = async {
                        if stream.data.send((data, taken)).await.is_ok() {
                            drop(took.await);
                        }
                    };
                    stream.closed.run_until_cancelled(hand_over).await;
                }
                if fin {
                    stream.ended.cancel();
                }
            }
            Work::Reset { id } => {
                let stream = lock(&self.streams).get(&id).cloned();
                if let Some(stream) = stream {
                    stream.ended.cancel();
                }
            }
            Work::Ping { id } => {
                if !self.node.switches.mute.load(Ordering::Relaxed) {
                    drop(self.frames.send(control(6, &id)).await);
                }
            }
        }
    }

    async fn open(self: &Arc<Self>, id: u32, headers: HashMap<String, String>) {
        let (data, inbox) = mpsc::channel(1);
        let stream = StreamState {
            data,
            inbox: Mutex::new(Some(inbox)),
            closed: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        lock(&self.streams).insert(id, Arc::new(stream));
        self.reply(id).await;
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let (kind, request, port) = (header("streamtype"), header("requestid"), header("port"));
        let Ok(port) = port.parse::<u16>() else {
            return self.node.switches.violation(format!("the port {port:?}"));
        };
        match self.other_half(request, &kind, id) {
            None => {}
            Some(other) => {
                let (error, data) = if kind == "data" { (other.id, id) } else { (id, other.id) };
                if kind == other.kind {
                    return self.node.switches.violation(format!("two {kind} streams"));
                }
                self.node.switches.opened.fetch_add(1, Ordering::Relaxed);
                let this = self.clone();
                spawn(&self.all, async move { this.forward(error, data, port).await });
            }
        }
    }

    /// One compressor for all replies: they leave in the order in which it made them.
    async fn reply(&self, id: u32) {
        let mut replied = self.replies.lock().await;
        let mut body = id.to_be_bytes().to_vec();
        body.extend_from_slice(&empty_block(!*replied));
        *replied = true;
        drop(self.frames.send(control(2, &body)).await);
    }

    /// The stream of the same request that came before; else this one waits for it. The
    /// two may be with two workers at the same time.
    fn other_half(&self, request: String, kind: &str, id: u32) -> Option<Half> {
        let mut pairs = lock(&self.pairs);
        let other = pairs.remove(&request);
        if other.is_none() {
            pairs.insert(request, Half { kind: kind.to_owned(), id });
        }
        other
    }

    async fn forward(self: Arc<Self>, error: u32, data: u32, port: u16) {
        let stream = lock(&self.streams).get(&data).cloned();
        let Some(stream) = stream else { return };
        match (self.node.dial)(port).await {
            Err(said) => {
                self.node.switches.refused.fetch_add(1, Ordering::Relaxed);
                self.say(error, said.as_bytes(), false).await;
                self.say(error, &[], true).await;
                self.say(data, &[], true).await;
                // Nobody reads the stream any more and nobody closes it: see the second
                // habit above.
            }
            Ok((pod, life)) => {
                self.node.switches.live.fetch_add(1, Ordering::Relaxed);
                self.pump(data, pod, &stream, &life).await;
                self.node.switches.live.fetch_sub(1, Ordering::Relaxed);
                stream.closed.cancel();
                self.say(error, &[], true).await;
                self.say(data, &[], true).await;
            }
        }
    }

    async fn pump(&self, id: u32, pod: TcpStream, stream: &StreamState, life: &CancellationToken) {
        let inbox = lock(&stream.inbox).take();
        let Some(mut inbox) = inbox else { return };
        drop(pod.set_nodelay(true));
        let (mut from_pod, mut to_pod) = pod.into_split();
        let up = async {
            loop {
                tokio::select! {
                    biased;
                    taken = inbox.recv() => match taken {
                        None => return,
                        Some((data, taken)) => {
                            if to_pod.write_all(&data).await.is_err() {
                                return;
                            }
                            let _ = taken.send(());
                        }
                    },
                    () = stream.ended.cancelled() => return,
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; CHUNK];
            while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
                self.say(id, &buffer[..count], false).await;
            }
        };
        let (mut up, mut down) = (Box::pin(up), Box::pin(down));
        let down_left = tokio::select! {
            () = &mut up => true,
            () = &mut down => false,
            () = life.cancelled() => false,
        };
        if down_left {
            tokio::select! { () = &mut down => {}, () = sleep(GRACE) => {} }
        } else {
            tokio::select! { () = &mut up => {}, () = sleep(GRACE) => {} }
        }
    }

    async fn say(&self, stream: u32, data: &[u8], fin: bool) {
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend_from_slice(&(data.len() as u32).to_be_bytes());
        frame[4] = u8::from(fin);
        frame.extend_from_slice(data);
        drop(self.frames.send(frame).await);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80, 3];
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// What SPDY/3 starts its compression with.
const DICTIONARY: &[u8] = include_bytes!("spdy3.dictionary");

/// The client's header blocks, in one stream.
#[derive(Default)]
struct Blocks {
    inflater: Box<DecompressorOxide>,
    /// All that was inflated, behind the dictionary; a client's headers are few.
    plain: Vec<u8>,
    broken: bool,
}

impl Blocks {
    fn read(&mut self, mut block: &[u8]) -> Result<HashMap<String, String>, String> {
        if self.broken {
            return Err("the block before did not end with an empty stored block".to_owned());
        }
        self.broken = !block.ends_with(&[0, 0, 0xff, 0xff]);
        if self.plain.is_empty() {
            let named = block.len() > 6 && block[2..6] == [0xe3, 0xc6, 0xa7, 0xc2];
            if !named || block[0] != 0x78 || block[1] & 0x20 == 0 {
                return Err("no zlib header with the dictionary".to_owned());
            }
            block = &block[6..];
            self.plain.extend_from_slice(DICTIONARY);
        }
        // Matches reach back 32 KiB.
        let start = self.plain.len().min(32 * 1024);
        self.plain.drain(..self.plain.len() - start);
        self.plain.resize(start + 16 * 1024, 0);
        let options =
            flags::TINFL_FLAG_HAS_MORE_INPUT | flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) =
            decompress(&mut self.inflater, block, &mut self.plain, start, options);
        self.plain.truncate(start + written);
        if status != TINFLStatus::NeedsMoreInput || read != block.len() {
            return Err(format!("a header block that is no deflate: {status:?}"));
        }
        let mut plain = &self.plain[start..];
        let mut headers = HashMap::new();
        for _ in 0..plain.try_get_u32().map_err(|_| "a short header block")? {
            let name = take_text(&mut plain)?;
            if name.to_lowercase() != name {
                return Err(format!("the header {name} is not in lower case"));
            }
            headers.insert(name, take_text(&mut plain)?);
        }
        Ok(headers)
    }
}

fn take_text(plain: &mut &[u8]) -> Result<String, String> {
    let size = plain.try_get_u32().map_err(|_| "a short header block")? as usize;
    let (text, rest) = plain.split_at_checked(size).ok_or("a short header block")?;
    *plain = rest;
    String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
}

/// No headers, compressed as Go's writer starts its stream: the four zero bytes of the
/// count as literals of the fixed Huffman code, then a sync flush.
fn empty_block(first: bool) -> Vec<u8> {
    let mut block = if first { vec![0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2] } else { Vec::new() };
    let mut bits: Vec<bool> = vec![false, true, false]; // not the last block, fixed codes
    for _ in 0..4 {
        bits.extend([false, false, true, true, false, false, false, false]); // the literal 0
    }
    bits.extend([false; 7]); // the block's end
    bits.extend([false; 3]); // a stored block
    for byte in bits.chunks(8) {
        let set = byte.iter().enumerate().map(|(at, bit)| u8::from(*bit) << at);
        block.push(set.sum());
    }
    block.extend_from_slice(&[0, 0, 0xff, 0xff]);
    block
}

/// A dial to fixed addresses; other ports refuse.
pub fn dial_to(ports: HashMap<u16, std::net::SocketAddr>) -> Dial {
    Arc::new(move |port| {
        let address = ports.get(&port).copied();
        Box::pin(async move {
            let connected: io::Result<TcpStream> = match address {
                Some(address) => TcpStream::connect(address).await,
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            };
            connected.map(|socket| (socket, CancellationToken::new())).map_err(|_| refusal(port))
        })
    })
}
