//! Owns what time asks for: pings, their limit, and streams that nobody reads.
//!
//! Any frame is a sign of life; silence after a ping is the only sign of death. One
//! unanswered ping is not enough: a node hands pings to five workers in turn, and one
//! of them may stand behind a pod that does not read. So it is asked several times
//! within the limit.

use super::{End, Machine};
use crate::frame::{self, CANCEL};
use crate::{Reason, StreamError};
use std::time::Duration;
use tokio::time::Instant;

/// Pings within one limit.
const TRIES: u32 = 3;

/// Share of the limit after which a silence that may have its reasons is doubted.
const DOUBT: u32 = 5;

/// Bytes sent on one stream without any frame for it, beyond which its pod may just
/// not be reading: 50 frames wait in a node before its reader stops.
const UNREAD_UPLOAD: usize = 1 << 20;

impl Machine {
    /// When [`Machine::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        if let Some(since) = self.paused {
            // Nothing can be heard while nothing is read.
            return (self.streams.len() > 1).then(|| since + self.config.stalled_limit);
        }
        let death = self.ping.since.map(|since| self.death(since));
        [self.ping_due(), death, self.doubt_due()].into_iter().flatten().min()
    }

    /// Does what is due at `now`.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if let Some(since) = self.paused {
            if now >= since + self.config.stalled_limit && self.streams.len() > 1 {
                self.reset_unread();
            }
            return;
        }
        if let Some(since) = self.ping.since
            && now >= self.death(since)
        {
            let limit = self.patience();
            return self.die(Reason::Silent(limit));
        }
        if self.doubt_due().is_some_and(|due| now >= due) {
            (self.ping.doubted, self.ping.announced) = (Some(now), true);
            self.wakes.append(&mut self.watchers);
        }
        if self.ping_due().is_some_and(|due| now >= due) {
            self.ping.wanted = true;
            self.ping.since.get_or_insert(now);
            self.nudge();
        }
    }

    /// Whether more should be read; notes since when not.
    pub(crate) fn wants_read(&mut self, now: Instant) -> bool {
        let full = self.buffered >= self.config.tunnel_buffer;
        // Alone on its tunnel, a stream that is not read holds up nobody but itself.
        let alone = self.stalled > 0 && self.streams.len() == 1;
        if full || alone {
            self.paused.get_or_insert(now);
            return false;
        }
        if self.paused.take().is_some() {
            self.hear(now);
        }
        self.has_control_room()
    }

    /// Notes whether the peer takes what is written.
    pub(crate) fn note_write(&mut self, blocked: bool, now: Instant) {
        if blocked {
            self.blocked.get_or_insert(now);
        } else {
            self.blocked = None;
        }
    }

    /// Judges silence strictly from now on: the path is suspected to be dead.
    pub(crate) fn suspect(&mut self, now: Instant) {
        self.strict = true;
        self.ask(now);
        // Its deadline is another one now.
        self.nudge();
    }

    /// Ends everything.
    pub(crate) fn die(&mut self, reason: Reason) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(reason.clone());
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.conclude(id, End::Failed(reason.clone().into()));
        }
        self.wakes.append(&mut self.watchers);
        self.nudge();
    }

    pub(crate) fn ended(&self) -> Option<&Reason> {
        self.end.as_ref()
    }

    /// Whether nobody needs the tunnel any more.
    pub(crate) fn is_unused(&self) -> bool {
        self.streams.is_empty() && (self.handles == 0 || self.retired.is_some())
    }

    fn ping_due(&self) -> Option<Instant> {
        if self.ping.wanted {
            return None;
        }
        if self.ping.is_open() {
            return self.ping.last.map(|last| last + self.config.ping_limit / TRIES);
        }
        Some(match self.waiting {
            Some(since) => since + self.curiosity,
            None if self.awaiting > 0 => self.heard + self.curiosity,
            None => self.heard + self.config.ping_idle,
        })
    }

    fn death(&self, since: Instant) -> Instant {
        since.max(self.heard) + self.patience()
    }

    fn patience(&self) -> Duration {
        if self.is_excused() { self.config.blocked_limit } else { self.config.ping_limit }
    }

    /// Whether a pod that does not read may be why the peer is silent.
    fn is_excused(&self) -> bool {
        let unread = || self.streams.values().any(|entry| entry.unanswered > UNREAD_UPLOAD);
        !self.strict && (self.blocked.is_some() || unread())
    }

    /// When the silence of an excused peer is to be doubted, first or again.
    fn doubt_due(&self) -> Option<Instant> {
        let since = self.ping.since.filter(|_| self.is_excused())?.max(self.heard);
        let limit = self.config.ping_limit;
        Some(match self.ping.doubted.filter(|at| *at > since) {
            Some(at) => at + limit,
            None => since + limit / DOUBT,
        })
    }

    /// Resets the stream that holds most of what nobody reads.
    fn reset_unread(&mut self) {
        let worst = self.streams.iter().max_by_key(|(_, entry)| entry.held);
        let Some(id) = worst.map(|(id, _)| *id) else { return };
        let stream_buffer = self.config.stream_buffer;
        if let Some(entry) = self.streams.get_mut(&id) {
            let held = entry.clear();
            self.buffered -= held;
            self.stalled -= usize::from(held >= stream_buffer);
            if entry.end.is_none() {
                frame::put_reset(&mut self.control, id, CANCEL);
            } else {
                // It had ended, but its reader never got all of it.
                entry.end = None;
            }
        }
        self.conclude(id, End::Failed(StreamError::Unread));
        self.nudge();
    }
}
