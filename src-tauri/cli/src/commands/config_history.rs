//! Owns `config history`, `config diff` and `config rollback`: the configurations that
//! were in force. Needs no host; one that runs is told of a rollback.

use super::config::words;
use super::reload;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use crate::output::table::{Cell, Row, lines};
use localport_core::config::{Config, Severity, diff as difference};
use localport_core::time::Timestamp;
use localport_engine::config_store::history::{Entry, History};
use localport_engine::control::client::ClientError;
use localport_engine::home::Home;
use localport_engine::host::configuration::understand;
use localport_engine::logs::clock::local_minute;
use serde_json::json;
use std::time::SystemTime;

/// `localport config history`
pub(crate) fn list(home: &Home, output: &mut Output) -> Result<Exit, CommandError> {
    let mut entries = History::new(home).entries()?;
    entries.reverse();
    if output.json() {
        output.value(&entries)?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        output.line("no configuration was in force yet")?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Row> = entries.iter().map(row).collect();
    for line in lines(&["NO", "WHEN", "BY", "WHAT", "FILES"], &rows, output.colour()) {
        output.line(line)?;
    }
    Ok(Exit::Done)
}

fn row(entry: &Entry) -> Row {
    let files: Vec<String> =
        entry.files.iter().map(|kept| kept.path.display().to_string()).collect();
    let cells = [
        entry.number.to_string(),
        local_minute(entry.at),
        entry.who.as_str().to_owned(),
        entry.why.clone(),
        files.join(", "),
    ];
    Row { cells: cells.map(Cell::plain).into(), below: vec![] }
}

/// `localport config diff`
pub(crate) fn diff(
    home: &Home,
    number: Option<u64>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let history = History::new(home);
    let entries = history.entries()?;
    let then = find(&entries, number)?;
    let newest = entries.last().unwrap_or(then);
    let plan = difference(&read(home, &history, then)?, &read(home, &history, newest)?);
    if output.json() {
        output.value(&json!({ "from": then.number, "to": newest.number, "plan": plan.show() }))?;
        return Ok(Exit::Done);
    }
    for line in plan.lines() {
        output.line(line)?;
    }
    if plan.is_empty() {
        let (from, to) = (then.number, newest.number);
        output.line(format!("what runs is the same in `{from}` and `{to}`"))?;
    }
    Ok(Exit::Done)
}

/// `localport config rollback`
pub(crate) async fn roll_back(
    home: &Home,
    number: Option<u64>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let history = History::new(home);
    history.recover()?;
    let entries = history.entries()?;
    let entry = find(&entries, number)?;
    refuse_errors(&read(home, &history, entry)?, entry, output)?;
    let written = history.roll_back(entry, now())?;
    // A host of its own accord reads what was written, too; told, it knows why.
    let told = match reload::ask(home, &json!({ "rollback": true })).await {
        Ok(reload) => Some(reload),
        Err(ClientError::NotRunning) => None,
        Err(error) => return Err(error.into()),
    };
    if output.json() {
        let reload = told.as_ref();
        output.value(&json!({ "to": entry.number, "written": written, "reload": reload }))?;
    } else {
        for file in &written {
            let name = file.file.display();
            output.line(match &file.backup {
                Some(backup) => format!(
                    "`{name}` is again as in `{}`; what it was lies in `{}`",
                    entry.number,
                    backup.display()
                ),
                None => format!("`{name}` is there again, as in `{}`", entry.number),
            })?;
        }
        if let Some(told) = &told {
            reload::say(told, output)?;
        }
    }
    Ok(told.as_ref().map_or(Exit::Done, reload::exit))
}

/// A configuration that would not be applied is not put back either.
fn refuse_errors(config: &Config, entry: &Entry, output: &mut Output) -> Result<(), CommandError> {
    let wrong = config.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() {
        return Ok(());
    }
    if !output.json() {
        for complaint in wrong {
            output.note(words(complaint, output.colour_of_errors()));
        }
    }
    let sentence = format!("the configuration `{}` has errors on this machine now", entry.number);
    let hint = "Mend what it names, such as a key file that is gone; nothing was changed";
    Err(CommandError::new(Exit::Usage, "configuration-errors", sentence, hint))
}

fn read(home: &Home, history: &History, entry: &Entry) -> Result<Config, CommandError> {
    Ok(understand(home, &history.texts(entry)?))
}

/// The entry with this number, else the one before the newest.
fn find(entries: &[Entry], number: Option<u64>) -> Result<&Entry, CommandError> {
    let found = match number {
        Some(number) => entries.iter().find(|entry| entry.number == number),
        None => entries.iter().rev().nth(1),
    };
    found.ok_or_else(|| {
        let sentence = match number {
            Some(number) => format!("there is no configuration `{number}` in the history"),
            None => "there is no earlier configuration in the history".to_owned(),
        };
        let hint = "`localport config history` lists those that are kept";
        CommandError::new(Exit::Usage, "unknown-configuration", sentence, hint)
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since
}
