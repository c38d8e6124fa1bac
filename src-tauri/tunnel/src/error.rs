//! Owns why streams and tunnels end.

use crate::frame::FrameError;
use crate::websocket::WsError;
use std::io;
use std::time::Duration;

/// Why a tunnel has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its last handle and stream are gone, or it was retired and its last stream ended.
    #[error("the tunnel was closed")]
    Closed,
    /// The driver was dropped.
    #[error("the tunnel was dropped")]
    Dropped,
    /// The peer closed the connection.
    #[error("the server closed the tunnel")]
    PeerClosed,
    /// Nothing came from the peer, although it was asked.
    #[error("the tunnel is silent: no answer to a ping within {} s", .0.as_secs())]
    Silent(Duration),
    /// The peer takes no more streams.
    #[error("the node gave the tunnel up (GOAWAY {0})")]
    GoAway(u32),
    /// The peer does not speak the protocol, or passes a limit.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer does not speak WebSocket.
    #[error(transparent)]
    WebSocket(#[from] WsError),
    /// The connection broke.
    #[error("the tunnel broke: {said}")]
    Io {
        /// The kind of the error.
        kind: io::ErrorKind,
        /// Its text.
        said: String,
    },
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Reason::Io { kind: error.kind(), said: error.to_string() }
    }
}

/// Why a stream ended otherwise than in good order, or could not be opened. Reading
/// and writing give it inside an [`io::Error`] of kind
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The node said why, in its own words: mostly that the pod's port refused.
    #[error("{0}")]
    Said(String),
    /// The node reset the stream with this RST_STREAM status.
    #[error("the node reset the stream (status {0})")]
    Reset(u32),
    /// Its user did not read while other streams waited behind it.
    #[error("the stream was not read for too long while others shared its tunnel")]
    Unread,
    /// The tunnel ended.
    #[error(transparent)]
    Tunnel(#[from] Reason),
    /// The tunnel takes no more streams: it is retired, its ids are used up, or it has
    /// as many as [`Config::streams`](crate::Config::streams) allows.
    #[error("the tunnel takes no more streams")]
    Full,
}

impl StreamError {
    /// As what reading and writing give.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionReset, self)
    }
}
