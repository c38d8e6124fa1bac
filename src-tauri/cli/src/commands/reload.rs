//! Owns `reload` and `config plan`: a changed configuration in the running host.

use super::config::words;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::config::reload::Reload;
use localport_core::snapshot::PendingWhy;
use localport_engine::control::client::{Client, ClientError};
use localport_engine::home::Home;
use serde_json::{Value, json};

/// `localport reload`, and `localport config plan` when `dry`.
pub(crate) async fn run(home: &Home, dry: bool, output: &mut Output) -> Result<Exit, CommandError> {
    let reload = ask(home, &json!({ "dry": dry })).await?;
    if output.json() {
        output.value(&reload)?;
    } else {
        say(&reload, output)?;
    }
    Ok(exit(&reload))
}

/// Asks the running host.
pub(super) async fn ask(home: &Home, body: &Value) -> Result<Reload, ClientError> {
    Client::new(home).post("/v1/reload", body).await
}

/// What came of it, in words.
pub(super) fn say(reload: &Reload, output: &mut Output) -> std::io::Result<()> {
    for complaint in &reload.diagnostics {
        output.note(words(complaint, output.colour_of_errors()));
    }
    let invalid = reload.pending.as_ref().is_some_and(|p| p.why == PendingWhy::Invalid);
    if !invalid {
        for line in &reload.lines {
            output.line(line)?;
        }
    }
    match &reload.pending {
        Some(pending) => {
            output.note(&pending.sentence);
            output.note(format!("  {}", pending.hint));
            Ok(())
        }
        None => output.line(&reload.sentence),
    }
}

/// The exit code that says so.
pub(super) fn exit(reload: &Reload) -> Exit {
    match reload.pending.as_ref().map(|pending| pending.why) {
        None => Exit::Done,
        Some(PendingWhy::Invalid | PendingWhy::Empty) => Exit::Usage,
        Some(PendingWhy::Ending | PendingWhy::Refused) => Exit::Failure,
    }
}
