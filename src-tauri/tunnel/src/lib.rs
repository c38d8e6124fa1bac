//! A client of Kubernetes' multiplexed port-forward: SPDY/3.1 inside WebSocket messages
//! (KEP-4006, `SPDY/3.1+portforward.k8s.io`) or directly on an upgraded connection
//! (`Upgrade: SPDY/3.1`, `portforward.k8s.io`).
//!
//! One tunnel leads to one pod and carries any number of connections to any of its
//! ports. This crate knows bytes, not Kubernetes objects: make the upgraded connection
//! with whatever HTTP client you like, hand it to [`start`], and drive the [`Driver`].
//!
//! ```no_run
//! # async fn example<T>(upgraded: T) -> std::io::Result<()>
//! # where T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {
//! use localport_tunnel::{Config, Framing, start};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let (tunnel, driver) = start(upgraded, Framing::WebSocket, Config::default());
//! let talk = async {
//!     let mut stream = tunnel.stream(80);
//!     stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//!     let mut reply = Vec::new();
//!     stream.read_to_end(&mut reply).await
//! };
//! tokio::select! { reply = talk => { reply?; } _reason = driver => {} }
//! # Ok(()) }
//! ```
//!
//! # How a connection goes
//!
//! Everything of the first line leaves in one write, so the first byte of an answer
//! takes one round trip.
//!
//! ```text
//! client                                   node                        pod
//!   │ SYN(error) SYN(data) FIN(error) DATA   │                           │
//!   ├───────────────────────────────────────▶│                           │
//!   │                SYN_REPLY, SYN_REPLY    │ connect                   │
//!   │◀───────────────────────────────────────┼──────────────────────────▶│
//!   │                                        │ DATA                      │
//!   │                DATA …                  ├──────────────────────────▶│
//!   │◀───────────────────────────────────────┤◀──────────────────────────┤
//!   │                                        │                     close │
//!   │                                        │◀──────────────────────────┤
//!   │                FIN(error), FIN(data)   │ one second later          │
//!   │◀───────────────────────────────────────┤                           │
//!   │ FIN(data), and forgotten               │                           │
//!   ├───────────────────────────────────────▶│                           │
//! ```
//!
//! A dial that fails is told as text on the error stream:
//! [`StreamError::Said`] carries it. An error ends one stream, never the tunnel.
//!
//! # What real nodes do, and what follows
//!
//! * They have no flow control: they neither send nor heed window updates, so neither
//!   does this client. What a stream's user does not read is kept up to
//!   [`Config::stream_buffer`]; then a stream that is alone on its tunnel rests the
//!   connection, and one that shares it may use [`Config::tunnel_buffer`], after which
//!   it is reset rather than hold up the others for longer than
//!   [`Config::stalled_limit`]. No frame is ever dropped from a stream that goes on.
//! * A dial that is refused *after* data was sent on its stream wedges the node's side
//!   of the whole tunnel. Use [`PortStream::settle`] where a port has not proved to
//!   accept, and [`Tunnel::retire`] a tunnel where it happened all the same.
//! * They end both directions one second after either one: see [`PortStream`].
//! * Any frame is a sign of life. A node that stays silent for [`Config::ping_limit`]
//!   after a ping is given up ([`Reason::Silent`]), and its streams are reset.
//!
//! # Limits on a peer
//!
//! A peer can make a tunnel hold [`Config::tunnel_buffer`] and a read's worth more of
//! data, [`frame::MAX_CONTROL`] of a control frame, [`headers::MAX_BLOCK`] of headers,
//! and 64 KiB of answers to its pings. Whatever passes a limit or makes no sense ends
//! the tunnel with a [`Reason`].

mod config;
mod driver;
mod error;
pub mod frame;
pub mod headers;
mod machine;
mod stream;
mod tunnel;
pub mod websocket;

pub use config::Config;
pub use driver::Driver;
pub use error::{Reason, StreamError};
pub use machine::Status;
pub use stream::PortStream;
pub use tunnel::{Doubts, Framing, Tunnel, start};
