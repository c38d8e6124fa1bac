//! Owns `shutdown`: how LocalPort ended, from its history, whether or not one runs.

use crate::args::ShutdownCommand;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::explain;
use localport_core::history::Shutdown;
use localport_engine::home::Home;
use localport_engine::logs::clock::local_minute;
use localport_engine::store::{Database, History, StoreError};

/// `localport shutdown`
pub(crate) fn run(
    home: &Home,
    command: &ShutdownCommand,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    match command {
        ShutdownCommand::Last => last(&read(home, 1)?, output)?,
    }
    Ok(Exit::Done)
}

fn last(history: &History, output: &mut Output) -> Result<(), CommandError> {
    let shutdown = history.shutdowns.first().ok_or_else(none_yet)?;
    if output.json() {
        output.value(shutdown)?;
    } else {
        for line in explain::account(shutdown, &when(shutdown)) {
            output.line(line)?;
        }
    }
    Ok(())
}

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

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hint = "it is only the history: forwards do not depend on it";
        CommandError::new(Exit::Failure, "history-unreadable", error.to_string(), hint)
    }
}
