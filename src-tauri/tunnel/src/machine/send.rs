//! Owns what goes out next: control frames first, then data of all streams in turn.

use super::{CONTROL_LIMIT, Entry, Machine, Ping};
use crate::frame;
use tokio::time::Instant;

impl Machine {
    /// Appends what is due to `out`, up to about one batch. Nothing is appended when
    /// nothing is due.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, now: Instant) {
        if self.ping.wanted {
            self.ping.wanted = false;
            self.ping.since.get_or_insert(now);
            self.ping.sent += 1;
            self.ping.last = Some(now);
            frame::put_ping(&mut self.control, Ping::id(self.ping.sent));
        }
        let limit = out.len() + self.config.batch;
        out.append(&mut self.control);
        if out.len() > CONTROL_LIMIT {
            self.control.shrink_to(CONTROL_LIMIT);
        }
        while out.len() < limit {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(entry) = self.streams.get_mut(&id) else { continue };
            entry.queued = false;
            if entry.end.is_some() {
                continue;
            }
            if put_data(out, id, entry, self.config.frame) {
                entry.queued = true;
                self.ready.push_back(id);
            }
            let waker = entry.writer.take();
            self.wakes.extend(waker);
        }
    }

    /// Says farewell: the peer is told that nothing more comes.
    pub(crate) fn farewell(&mut self) {
        frame::put_goaway(&mut self.control, 0, 0);
    }

    /// Whether control frames leave room to read more of a peer's.
    pub(super) fn has_control_room(&self) -> bool {
        self.control.len() < CONTROL_LIMIT
    }
}

/// One frame of a stream. True when more of it waits.
fn put_data(out: &mut Vec<u8>, id: u32, entry: &mut Entry, limit: usize) -> bool {
    let count = entry.outbound.len().min(limit);
    let last = count == entry.outbound.len();
    let fin = last && entry.fin && !entry.fin_sent;
    if count == 0 && !fin {
        return false;
    }
    out.extend_from_slice(&frame::data_head(id, count, fin));
    out.extend_from_slice(&entry.outbound.split_to(count));
    entry.sent |= count > 0;
    entry.unanswered += count;
    entry.fin_sent |= fin;
    if last {
        // An idle stream holds no buffer.
        entry.outbound = bytes::BytesMut::new();
    }
    !last
}
