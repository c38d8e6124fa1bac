//! Owns the logs of a host: a bounded set of JSON-lines files, and lines for the
//! terminal when a person watches.
//!
//! Receives tracing events and the engine's events, emits lines: into the files, to
//! standard error, and to those who follow.

pub mod clock;
mod file;
mod line;

pub use file::{FILE_BYTES, FILES};
pub use line::Line;

use crate::handle::EngineHandle;
use crate::registry::Tasks;
use file::Rotating;
use localport_core::event::Event;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// What is logged when nothing else is asked for: ours in full, libraries when they warn.
pub const DEFAULT_FILTER: &str = "warn,localport=info,localport_engine=info,localport_core=info";

/// Lines that wait for a slow follower; beyond that it is told how many it missed.
const FOLLOW_BACKLOG: usize = 1_024;

/// Name under which the engine's events are logged.
const EVENTS: &str = "localport::event";

/// What goes to standard error besides the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Nothing: nobody watches.
    Silent,
    /// Lines for a person.
    Plain,
    /// Lines for a person, with colour.
    Coloured,
}

/// The logs of a running host. Clones are equal.
#[derive(Clone)]
pub struct Logs {
    file: Arc<Mutex<Rotating>>,
    lines: broadcast::Sender<Arc<str>>,
}

impl Logs {
    /// Opens the files in `dir`, without making them the process's log.
    ///
    /// # Errors
    /// When the log file cannot be opened or made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let file = Rotating::open(dir, FILE_BYTES)?;
        let (lines, _) = broadcast::channel(FOLLOW_BACKLOG);
        Ok(Self { file: Arc::new(Mutex::new(file)), lines })
    }

    /// Makes these logs the process's own. `filter` has the form of `RUST_LOG`.
    ///
    /// # Errors
    /// When `filter` is not understood, or the process already has a log.
    pub fn install(&self, terminal: Terminal, filter: &str) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let filter = EnvFilter::builder().parse(filter).map_err(invalid)?;
        let json = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(self.clone());
        let people = (terminal != Terminal::Silent).then(|| {
            tracing_subscriber::fmt::layer()
                .with_ansi(terminal == Terminal::Coloured)
                .event_format(Plain)
                .with_writer(io::stderr)
        });
        let layers = json.and_then(people).with_filter(filter);
        tracing_subscriber::registry().with(layers).try_init().map_err(io::Error::other)
    }

    /// The lines written from now on, as in the files.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.lines.subscribe()
    }
}

/// Writes whole lines: the formatter hands over one event with one call.
impl Write for Logs {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Follower and file see the same order, so the line is announced under the lock.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.append(buf);
        let text = String::from_utf8_lossy(buf);
        // An error means that nobody follows.
        let _ = self.lines.send(text.trim_end().into());
        written.map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Logs;

    fn make_writer(&'a self) -> Logs {
        self.clone()
    }
}

/// Logs what the engine announces, until it ends.
pub(crate) fn record(engine: &EngineHandle, tasks: &Tasks) {
    let mut events = engine.events();
    let engine = engine.clone();
    tasks.spawn("event log", async move {
        let mut seen = 0;
        for event in engine.history() {
            seen = log_once(&event, seen);
        }
        loop {
            match events.recv().await {
                Ok(event) => seen = log_once(&event, seen),
                // What the channel dropped is still in the history.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    for event in engine.history() {
                        seen = log_once(&event, seen);
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
}

/// Logs `event` unless its number is at most `seen`; the highest number logged.
fn log_once(event: &Event, seen: u64) -> u64 {
    if event.seq <= seen {
        return seen;
    }
    let forward = event.forward.as_deref();
    let line = event.kind.line();
    if event.kind.is_trouble() {
        tracing::warn!(target: EVENTS, seq = event.seq, forward, "{line}");
    } else {
        tracing::info!(target: EVENTS, seq = event.seq, forward, "{line}");
    }
    event.seq
}

/// The last `limit` lines in `dir`, oldest first; of one forward when it is named.
///
/// # Errors
/// When a file is there but cannot be read. No file at all is no error.
pub fn tail(dir: &Path, forward: Option<&str>, limit: usize) -> io::Result<Vec<String>> {
    file::tail(dir, limit, |line| is_about(line, forward))
}

/// Whether the line of a log file is about `forward`; every line when none is named.
#[must_use]
pub fn is_about(line: &str, forward: Option<&str>) -> bool {
    forward.is_none() || Line::parse(line).is_some_and(|line| line.forward.as_deref() == forward)
}

/// One line for a person: time, forward, words.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let line = Line {
            at: clock::now(),
            level: event.metadata().level().to_string(),
            target: event.metadata().target().to_owned(),
            forward: words.forward,
            message: words.message,
        };
        writeln!(writer, "{}", line.for_people(writer.has_ansi_escapes()))
    }
}

/// What of an event a person reads.
#[derive(Default)]
struct Words {
    message: String,
    forward: Option<String>,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "forward" => self.forward = Some(value.to_owned()),
            "message" => self.message = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
