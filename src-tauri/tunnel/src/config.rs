//! Owns the limits and times of a tunnel.

use std::time::Duration;

/// How a tunnel behaves. [`Config::default`] suits Kubernetes' nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes received for one stream and not yet read by its user, at which the stream
    /// counts as stalled. 1 MiB.
    pub stream_buffer: usize,
    /// The same for all streams of a tunnel together, at which nothing more is read
    /// from the network. 16 MiB.
    pub tunnel_buffer: usize,
    /// How long reading may rest because of one stalled stream while others share the
    /// tunnel. The stalled one is reset then. 5 s.
    pub stalled_limit: Duration,
    /// Bytes written by a stream's user and not yet sent. 128 KiB.
    pub send_buffer: usize,
    /// Data bytes per frame towards the node: 32 KiB, where uploads to real nodes were
    /// fastest.
    pub frame: usize,
    /// Bytes gathered from all streams for one write. 128 KiB.
    pub batch: usize,
    /// Streams at one time. 256.
    pub streams: usize,
    /// Bytes kept of a stream's error text. 4 KiB.
    pub error_text: usize,
    /// Silence of the peer, while somebody waits for an answer, after which it is
    /// asked for a sign of life. 2 s.
    pub ping_waiting: Duration,
    /// The same while nobody waits: below every load balancer's limit. 20 s.
    pub ping_idle: Duration,
    /// Time from a ping to any frame of the peer; a tunnel that stays silent for
    /// longer is dead. 5 s.
    pub ping_limit: Duration,
    /// The same while bytes wait that the peer does not take: a pod that does not read
    /// its input holds up everything behind it, pings too, and may read on. 60 s.
    pub blocked_limit: Duration,
    /// Time for which a write must have been blocked for the tunnel to count as
    /// stalled. 250 ms.
    pub write_stall: Duration,
    /// Time the peer may take to end a tunnel that was closed. 1 s.
    pub close_limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_buffer: 1 << 20,
            tunnel_buffer: 16 << 20,
            stalled_limit: Duration::from_secs(5),
            send_buffer: 128 << 10,
            frame: 32 << 10,
            batch: 128 << 10,
            streams: 256,
            error_text: 4 << 10,
            ping_waiting: Duration::from_secs(2),
            ping_idle: Duration::from_secs(20),
            ping_limit: Duration::from_secs(5),
            blocked_limit: Duration::from_secs(60),
            write_stall: Duration::from_millis(250),
            close_limit: Duration::from_secs(1),
        }
    }
}
