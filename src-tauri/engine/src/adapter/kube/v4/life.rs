//! Owns the question whether the far side of one WebSocket still lives: when it is
//! asked, when its silence is doubted, and when it is given up.
//!
//! Receives what was sent and heard and the time, emits what is due next. The rules are
//! those of a tunnel, for one connection.

use std::time::Duration;
use tokio::time::Instant;

/// Silence after which a ping keeps load balancers from cutting the connection;
/// the shortest known limit is 60 s.
const PING_IDLE: Duration = Duration::from_secs(25);

/// The same while the client waits for an answer. It grows with each ping that is
/// answered, so that a long poll costs no more than an idle connection.
const PING_WAITING: Duration = Duration::from_secs(2);

/// Silence after a ping that ends the connection.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// The same where bytes wait that a pod may just not be reading.
const BLOCKED_LIMIT: Duration = Duration::from_secs(60);

/// After so much of such a silence the server is asked whether the path is dead.
const DOUBT: Duration = Duration::from_secs(1);

/// Bytes sent without an answer, beyond which a pod may just not be reading.
const UNREAD_UPLOAD: usize = 1 << 20;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping.
    Ask,
    /// Another way of learning whether the path is dead.
    Doubt,
    /// Giving up, after so much silence.
    Dead(Duration),
}

pub(super) struct Life {
    heard: Instant,
    /// Since when, after the far side's last message, the client waits for an answer.
    waiting: Option<Instant>,
    /// Bytes sent since the pod's last data.
    unanswered: usize,
    curiosity: Duration,
    /// When the ping was sent that had no answer yet.
    asked: Option<Instant>,
    doubted: Option<Instant>,
    strict: bool,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            waiting: None,
            unanswered: 0,
            curiosity: PING_WAITING,
            asked: None,
            doubted: None,
            strict: false,
        }
    }

    /// Any message came.
    pub(super) fn hear(&mut self, now: Instant) {
        if self.asked.take().is_some() {
            self.curiosity = (self.curiosity * 2).min(PING_IDLE);
        }
        (self.heard, self.waiting, self.strict) = (now, None, false);
    }

    /// Data of the pod came.
    pub(super) fn answer(&mut self) {
        self.unanswered = 0;
    }

    /// `bytes` of the client were sent. True when less time is left than before.
    pub(super) fn send(&mut self, bytes: usize, now: Instant) -> bool {
        self.unanswered = self.unanswered.saturating_add(bytes);
        self.curiosity = PING_WAITING;
        let first = self.waiting.is_none();
        self.waiting.get_or_insert(now);
        first
    }

    /// What is due next, and when. `blocked` is whether bytes wait to be taken.
    pub(super) fn due(&self, blocked: bool) -> (Instant, Due) {
        let Some(asked) = self.asked else {
            let at = match self.waiting {
                Some(since) => since + self.curiosity,
                None if self.unanswered > 0 => self.heard + self.curiosity,
                None => self.heard + PING_IDLE,
            };
            return (at, Due::Ask);
        };
        let excused = !self.strict && (blocked || self.unanswered > UNREAD_UPLOAD);
        if !excused {
            return (asked + PING_LIMIT, Due::Dead(PING_LIMIT));
        }
        let death = asked + BLOCKED_LIMIT;
        let doubt =
            self.doubted.filter(|at| *at > asked).map_or(asked + DOUBT, |at| at + PING_LIMIT);
        if doubt < death { (doubt, Due::Doubt) } else { (death, Due::Dead(BLOCKED_LIMIT)) }
    }

    /// The ping was sent.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// The doubt is being followed up.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubted = Some(now);
    }

    /// The path is dead as far as others can tell: nothing excuses silence any more.
    pub(super) fn suspect(&mut self) {
        self.strict = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S7.4: a connection in use is asked after 2 s and given up 5 s later; where a pod
    /// may not be reading, only once the server does not answer either.
    #[test]
    fn s7_4_silence_in_use_is_death_unless_a_pod_may_not_be_reading() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut life = Life::new(start);
        assert_eq!(life.due(false), (at(25), Due::Ask));
        assert!(life.send(100, at(3)) && !life.send(100, at(4)));
        assert_eq!(life.due(false), (at(5), Due::Ask));
        life.ask(at(5));
        assert_eq!(life.due(false), (at(10), Due::Dead(PING_LIMIT)));
        assert_eq!(life.due(true), (at(6), Due::Doubt));
        life.doubt(at(6));
        assert_eq!(life.due(true), (at(11), Due::Doubt));
        life.suspect();
        assert_eq!(life.due(true), (at(10), Due::Dead(PING_LIMIT)));
        life.hear(at(9));
        assert_eq!(life.due(false), (at(13), Due::Ask), "asked less often, after an answer");
        life.answer();
        assert_eq!(life.due(false), (at(34), Due::Ask));
        life.send(UNREAD_UPLOAD + 1, at(20));
        life.ask(at(22));
        life.doubt(at(80));
        assert_eq!(life.due(false), (at(82), Due::Dead(BLOCKED_LIMIT)));
    }
}
