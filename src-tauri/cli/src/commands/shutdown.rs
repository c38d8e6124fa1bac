//! Owns `shutdown`: how LocalPort ended, from its history, whether or not one runs.

use crate::args::ShutdownCommand;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use crate::output::table::{Cell, Row, lines};
use anstyle::AnsiColor;
use localport_core::explain;
use localport_core::history::Shutdown;
use localport_core::regression::percentile;
use localport_engine::home::Home;
use localport_engine::logs::clock::local_minute;
use localport_engine::store::{Database, History, KEPT, StoreError};
use serde_json::json;

/// Width of running text; longer lines are tiring to read.
const WIDTH: usize = 88;

/// `localport shutdown`
pub(crate) fn run(
    home: &Home,
    command: &ShutdownCommand,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    match command {
        ShutdownCommand::Last => last(&read(home, 1)?, output)?,
        ShutdownCommand::History { limit } => history(&read(home, *limit)?, output)?,
        ShutdownCommand::Explain { which } => {
            explain(&read(home, KEPT)?, which.as_deref(), output)?;
        }
    }
    Ok(Exit::Done)
}

fn last(history: &History, output: &mut Output) -> Result<(), CommandError> {
    let shutdown = history.shutdowns.first().ok_or_else(none_yet)?;
    if output.json() {
        output.value(shutdown)?;
        return Ok(());
    }
    for line in explain::account(shutdown, &when(shutdown)) {
        output.line(line)?;
    }
    Ok(())
}

fn history(history: &History, output: &mut Output) -> Result<(), CommandError> {
    let shutdowns = &history.shutdowns;
    if output.json() {
        let times = || shutdowns.iter().map(|shutdown| shutdown.receipt.took_ms).collect();
        output.value(&json!({
            "shutdowns": shutdowns,
            "totals": history.totals,
            "p50_ms": percentile(times(), 50),
            "p95_ms": percentile(times(), 95),
        }))?;
        return Ok(());
    }
    if !shutdowns.is_empty() {
        let rows: Vec<Row> = shutdowns.iter().map(row).collect();
        for line in lines(&["NO", "WHEN", "WHY", "TOOK", "HOW"], &rows, output.colour()) {
            output.line(line)?;
        }
        output.line("")?;
    }
    output.line(explain::usual(shutdowns))?;
    Ok(())
}

fn row(shutdown: &Shutdown) -> Row {
    let receipt = &shutdown.receipt;
    let outcome = explain::outcome(receipt);
    let outcome = if receipt.is_clean() {
        Cell::plain(outcome)
    } else {
        Cell::coloured(outcome, AnsiColor::Yellow)
    };
    Row {
        cells: vec![
            Cell::plain(shutdown.id.to_string()),
            Cell::plain(when(shutdown)),
            Cell::plain(explain::who(receipt)),
            Cell::plain(explain::duration(receipt.took_ms)),
            outcome,
        ],
        below: receipt.remarks.clone(),
    }
}

fn explain(
    history: &History,
    which: Option<&str>,
    output: &mut Output,
) -> Result<(), CommandError> {
    let shutdown = match which {
        None => history.shutdowns.first().ok_or_else(none_yet)?,
        Some(which) => find(history, which).ok_or_else(|| unknown(which))?,
    };
    let story = explain::story(shutdown, &when(shutdown));
    if output.json() {
        output.value(&json!({ "shutdown": shutdown, "explanation": story }))?;
        return Ok(());
    }
    for (place, paragraph) in story.iter().enumerate() {
        if place == 1 {
            output.line("")?;
        }
        for line in explain::wrapped(paragraph, WIDTH) {
            output.line(line)?;
        }
    }
    Ok(())
}

/// The shutdown with this number, else the last one whose time begins so.
fn find<'a>(history: &'a History, which: &str) -> Option<&'a Shutdown> {
    let numbered = which.parse().ok();
    let number = history.shutdowns.iter().find(|shutdown| Some(shutdown.id) == numbered);
    number.or_else(|| {
        let is_time = which.len() >= "2026-".len();
        history.shutdowns.iter().find(|shutdown| is_time && when(shutdown).starts_with(which))
    })
}

/// Where the user is, to the minute.
fn when(shutdown: &Shutdown) -> String {
    local_minute(shutdown.receipt.began)
}

fn read(home: &Home, limit: u32) -> Result<History, CommandError> {
    match Database::read(&home.database())? {
        Some(database) => Ok(database.history(limit)?),
        None => Ok(History::default()),
    }
}

fn none_yet() -> CommandError {
    let hint = "`localport quit` ends a running LocalPort, and its receipt is kept";
    CommandError::new(Exit::Failure, "no-shutdown", "no shutdown was kept yet", hint)
}

fn unknown(which: &str) -> CommandError {
    let sentence = format!("there is no shutdown `{which}` in the history");
    let hint = "`localport shutdown history` lists them with numbers and times";
    CommandError::new(Exit::Usage, "unknown-shutdown", sentence, hint)
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hint = "it is only the history: forwards do not depend on it";
        CommandError::new(Exit::Failure, "history-unreadable", error.to_string(), hint)
    }
}
