//! Owns one stream pair: what came, what is to go, and how it ended.

use crate::StreamError;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::task::Waker;

/// Shorter pieces are gathered, so that what a stream holds is about what it weighs:
/// a piece keeps the whole buffer alive that it was read into.
const GATHERED: usize = 4 * 1024;

/// Gathered pieces become one of this size.
const GATHER_LIMIT: usize = 16 * 1024;

/// A data stream and its error stream.
#[derive(Default)]
pub(crate) struct Entry {
    inbound: VecDeque<Bytes>,
    gathered: BytesMut,
    /// Bytes received and not read.
    pub(super) held: usize,
    pub(super) outbound: BytesMut,
    /// The user has ended its direction.
    pub(super) fin: bool,
    pub(super) fin_sent: bool,
    /// Whether it waits in the round of those with something to send.
    pub(super) queued: bool,
    /// Bytes sent since the node's last frame for this stream.
    pub(super) unanswered: usize,
    /// Whether its user waits for an answer.
    pub(super) awaits: bool,
    /// Whether any byte was sent.
    pub(crate) sent: bool,
    /// Whether the node has taken the stream.
    pub(crate) replied: bool,
    pub(crate) end: Option<End>,
    error: Vec<u8>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// How the far side ended a stream.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// In good order.
    Clean,
    /// Otherwise: what was received may be short.
    Failed(StreamError),
}

impl Entry {
    pub(super) fn add(&mut self, data: Bytes) {
        self.held += data.len();
        self.unanswered = 0;
        if data.len() < GATHERED {
            self.gathered.extend_from_slice(&data);
            if self.gathered.len() < GATHER_LIMIT {
                return;
            }
        }
        if !self.gathered.is_empty() {
            // In order: a short piece is in there already, a long one comes behind.
            let short = data.len() < GATHERED;
            self.inbound.push_back(self.gathered.split().freeze());
            if short {
                return;
            }
        }
        self.inbound.push_back(data);
    }

    pub(super) fn take(&mut self, limit: usize) -> Option<Bytes> {
        let piece = match self.inbound.front_mut() {
            Some(front) if front.len() > limit => front.split_to(limit),
            Some(_) => self.inbound.pop_front()?,
            None if self.gathered.is_empty() => return None,
            None => {
                let count = limit.min(self.gathered.len());
                let piece = self.gathered.split_to(count).freeze();
                if self.gathered.is_empty() {
                    self.gathered = BytesMut::new();
                }
                piece
            }
        };
        self.held -= piece.len();
        Some(piece)
    }

    /// Throws away what was received and gives its size.
    pub(super) fn clear(&mut self) -> usize {
        self.inbound.clear();
        self.gathered = BytesMut::new();
        std::mem::take(&mut self.held)
    }

    /// Whether something waits to be read.
    pub(crate) fn has_data(&self) -> bool {
        self.held > 0
    }

    pub(super) fn add_error(&mut self, text: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.error.len());
        self.error.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// What the node said on the error stream.
    pub(super) fn said(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.error);
        (!self.error.is_empty()).then(|| text.trim().to_owned())
    }
}
