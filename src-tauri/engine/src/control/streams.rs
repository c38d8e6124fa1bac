//! Owns the answers that go on: status, events, log lines.

use super::answer::{self, Answer, Failure};
use super::call::Call;
use super::{Shared, handlers};
use crate::handle::TrafficWatch;
use crate::logs;
use bytes::Bytes;
use futures_util::stream;
use hyper::StatusCode;
use localport_core::event::Event;
use localport_core::progress::Progress;
use localport_core::snapshot::Snapshot;
use serde::Serialize;
use serde_json::json;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

pub(super) const SSE: &str = "text/event-stream";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Status messages come at most this often …
const STATUS_PAUSE: Duration = Duration::from_millis(250);
/// … and at least this often, because ages move on.
const STATUS_TICK: Duration = Duration::from_secs(1);
/// Log lines that come first when nothing else is asked for.
const LOG_LINES: usize = 100;
/// No more log lines than this come first.
const LOG_LINES_MAX: usize = 10_000;

/// Answer of `events` in JSON.
#[derive(Serialize)]
pub(super) struct Events<'a> {
    pub(super) events: Vec<&'a Event>,
}

/// `GET /v1/events`.
pub(super) async fn events(shared: Arc<Shared>, call: Call) -> Answer {
    let forward = call.text("forward").map(str::to_owned);
    let limit: Option<usize> = call.number("limit")?;
    // Subscribed before the history is read: what happens in between comes twice,
    // not never, and is told apart by its number.
    let live = shared.api.engine.events();
    let history = shared.api.engine.history();
    if call.accepts("application/json") && !call.accepts(SSE) {
        let events = newest(of(history, forward.as_deref()), limit.unwrap_or(usize::MAX));
        return Ok(answer::json(&Events { events: events.iter().map(|event| &**event).collect() }));
    }
    let place = place(&shared)?;
    let newest_seq = history.last().map_or(0, |event| event.seq);
    let (seen, first) = match call.last_event_id() {
        // A number from an earlier life of the engine says nothing about this one.
        Some(last) => (if last > newest_seq { 0 } else { last }, Vec::new()),
        None => (newest_seq, newest(of(history, forward.as_deref()), limit.unwrap_or(0))),
    };
    let mut feed = Feed { shared, live, forward, seen, ready: VecDeque::new(), _place: place };
    feed.ready.extend(first.iter().map(|event| event_message(event)));
    feed.catch_up();
    Ok(answer::stream(SSE, stream::unfold(feed, Feed::next)))
}

/// One client that follows events.
struct Feed {
    shared: Arc<Shared>,
    live: broadcast::Receiver<Arc<Event>>,
    forward: Option<String>,
    seen: u64,
    ready: VecDeque<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let ending = self.shared.ending.clone();
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some((message, self));
            }
            // Events first: the last ones are sent before the stream ends.
            let received = tokio::select! {
                biased;
                received = self.live.recv() => received,
                () = ending.cancelled() => return None,
            };
            match received {
                Ok(event) if event.seq > self.seen => {
                    self.seen = event.seq;
                    if is_about(&event, self.forward.as_deref()) {
                        self.ready.push_back(event_message(&event));
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.catch_up(),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Makes up from the history for what this client has not seen.
    fn catch_up(&mut self) {
        let (missed, events) = unseen(self.shared.api.engine.history(), self.seen);
        if missed > 0 {
            self.ready.push_back(message("lagged", &json!({ "missed": missed })));
        }
        for event in events {
            self.seen = event.seq;
            if is_about(&event, self.forward.as_deref()) {
                self.ready.push_back(event_message(&event));
            }
        }
    }
}

/// The events after `seen`, and how many between are no longer in the history.
fn unseen(history: Vec<Arc<Event>>, seen: u64) -> (u64, Vec<Arc<Event>>) {
    let events: Vec<_> = history.into_iter().filter(|event| event.seq > seen).collect();
    let missed = events.first().map_or(0, |first| first.seq - seen - 1);
    (missed, events)
}

fn of(history: Vec<Arc<Event>>, forward: Option<&str>) -> Vec<Arc<Event>> {
    history.into_iter().filter(|event| is_about(event, forward)).collect()
}

fn newest(mut events: Vec<Arc<Event>>, limit: usize) -> Vec<Arc<Event>> {
    events.split_off(events.len().saturating_sub(limit))
}

fn is_about(event: &Event, forward: Option<&str>) -> bool {
    forward.is_none() || event.forward.as_deref() == forward
}

fn event_message(event: &Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\ndata: {data}\n\n", event.seq).into()
}

fn message(name: &str, data: &serde_json::Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// `GET /v1/status` as a stream.
pub(super) fn status(shared: Arc<Shared>) -> Answer {
    let place = place(&shared)?;
    let feed = StatusFeed {
        snapshot: shared.api.engine.snapshot(),
        _traffic: shared.api.engine.watch_traffic(),
        first: true,
        over: false,
        shared,
        _place: place,
    };
    Ok(answer::stream(SSE, stream::unfold(feed, StatusFeed::next)))
}

/// One client that follows the status.
struct StatusFeed {
    shared: Arc<Shared>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    first: bool,
    over: bool,
    _traffic: TrafficWatch,
    _place: OwnedSemaphorePermit,
}

impl StatusFeed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.over {
            return None;
        }
        if !self.first {
            let ending = self.shared.ending.clone();
            tokio::select! {
                () = self.changed() => {}
                // The last status is sent before the stream ends.
                () = ending.cancelled() => self.over = true,
            }
        }
        self.first = false;
        let status = handlers::current(&self.shared).await;
        let data = serde_json::to_string(&status).unwrap_or_default();
        Some((format!("data: {data}\n\n").into(), self))
    }

    /// Resolves when there is something new to say.
    async fn changed(&mut self) {
        tokio::time::sleep(STATUS_PAUSE).await;
        // Neither a time-out nor the engine's end is an error: the status is said again.
        let _ = tokio::time::timeout(STATUS_TICK - STATUS_PAUSE, self.snapshot.changed()).await;
    }
}

/// `GET /v1/progress`.
pub(super) async fn progress(shared: Arc<Shared>, call: Call) -> Answer {
    let engine = &shared.api.engine;
    if !call.accepts(SSE) {
        let snapshot = engine.fresh().await;
        return Ok(answer::json(&Progress::of(&snapshot, engine.clock().now())));
    }
    let place = place(&shared)?;
    let snapshot = engine.snapshot();
    let feed = ProgressFeed { snapshot, said: None, over: false, shared, _place: place };
    Ok(answer::stream(SSE, stream::unfold(feed, ProgressFeed::next)))
}

/// One client that follows an end or a drain.
struct ProgressFeed {
    shared: Arc<Shared>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    said: Option<Progress>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl ProgressFeed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let ending = self.shared.ending.clone();
        while !self.over {
            if self.said.is_some() {
                tokio::select! {
                    biased;
                    changed = self.snapshot.changed() => self.over = changed.is_err(),
                    () = ending.cancelled() => self.over = true,
                }
            }
            let snapshot = self.snapshot.borrow_and_update().clone();
            // Counted from when it was written, so that only what changed is said again.
            let next = Progress::of(&snapshot, snapshot.at);
            let known = self.said.as_ref().is_some_and(|said| same_but_time(said, &next));
            if !known {
                let now = self.shared.api.engine.clock().now();
                let data = serde_json::to_string(&Progress::of(&snapshot, now)).unwrap_or_default();
                self.said = Some(next);
                return Some((format!("data: {data}\n\n").into(), self));
            }
        }
        None
    }
}

/// Whether `one` and `other` differ in nothing but the time that is left.
fn same_but_time(one: &Progress, other: &Progress) -> bool {
    let still = |progress: &Progress| {
        let mut progress = progress.clone();
        progress.sentence = None;
        if let Some(ending) = &mut progress.ending {
            ending.left_ms = 0;
        }
        for drain in &mut progress.drains {
            drain.left_ms = 0;
        }
        progress
    };
    still(one) == still(other)
}

/// `GET /v1/logs`.
pub(super) async fn logs(shared: Arc<Shared>, call: Call) -> Answer {
    let forward = call.text("forward").map(str::to_owned);
    let limit = call.number("limit")?.unwrap_or(LOG_LINES).min(LOG_LINES_MAX);
    // Subscribed before the files are read, as above; lines are told apart by their text,
    // which holds the microsecond they were written in.
    let live = call.flag("follow").then(|| shared.api.logs.as_ref().map(logs::Logs::follow));
    let place = live.is_some().then(|| place(&shared)).transpose()?;
    let (dir, name) = (shared.api.home.logs(), forward.clone());
    let read = tokio::task::spawn_blocking(move || logs::tail(&dir, name.as_deref(), limit));
    let past = match read.await {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => return Err(unreadable(&error.to_string())),
        Err(error) => return Err(unreadable(&error.to_string())),
    };
    let feed = LineFeed {
        sent: past.iter().cloned().collect(),
        ready: past.into(),
        live: live.flatten(),
        forward,
        shared,
        _place: place,
    };
    Ok(answer::stream(NDJSON, stream::unfold(feed, LineFeed::next)))
}

/// One client that reads the log.
struct LineFeed {
    shared: Arc<Shared>,
    ready: VecDeque<String>,
    sent: HashSet<String>,
    live: Option<broadcast::Receiver<Arc<str>>>,
    forward: Option<String>,
    _place: Option<OwnedSemaphorePermit>,
}

impl LineFeed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let ending = self.shared.ending.clone();
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some((format!("{line}\n").into(), self));
            }
            let received = tokio::select! {
                biased;
                received = self.live.as_mut()?.recv() => received,
                () = ending.cancelled() => return None,
            };
            match received {
                Ok(line) if self.sent.contains(&*line) => {}
                Ok(line) if logs::is_about(&line, self.forward.as_deref()) => {
                    self.ready.push_back(line.to_string());
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    self.ready.push_back(json!({ "lagged": missed }).to_string());
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn place(shared: &Shared) -> Result<OwnedSemaphorePermit, Failure> {
    shared.streams.clone().try_acquire_owned().map_err(|_| {
        let message = format!("`{}` clients follow already", super::STREAMS);
        let hint = "end one of them, then try again";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", message, hint)
    })
}

fn unreadable(what: &str) -> Failure {
    let message = format!("the log cannot be read: {what}");
    let hint = "check the rights of the log directory";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "log-unreadable", message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::event::Kind;
    use localport_core::time::Timestamp;

    fn history(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<Event>> {
        numbers
            .map(|seq| {
                let kind = Kind::Note { text: "x".into() };
                Arc::new(Event { seq, at: Timestamp(0), forward: None, kind })
            })
            .collect()
    }

    #[test]
    fn a_gap_is_counted_and_told() {
        let numbers = |events: &[Arc<Event>]| events.iter().map(|e| e.seq).collect::<Vec<_>>();
        let (missed, events) = unseen(history(5..=8), 2);
        assert_eq!((missed, numbers(&events)), (2, vec![5, 6, 7, 8]));
        let (missed, events) = unseen(history(1..=8), 6);
        assert_eq!((missed, numbers(&events)), (0, vec![7, 8]));
        assert_eq!(unseen(history(1..=8), 8), (0, Vec::new()));
        assert_eq!(numbers(&newest(history(1..=8), 2)), [7, 8]);
    }
}
