//! Owns `start`, `stop`, `restart`, `retry` and `resume`.

use crate::args::Selection;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::command::{Done, Selector};
use localport_engine::control::client::Client;
use localport_engine::home::Home;

/// `localport start|stop|restart|retry|resume`: posts the selection to the path of that name.
pub(crate) async fn run(
    home: &Home,
    verb: &str,
    selection: Selection,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let selector = selector(selection);
    let done: Done = Client::new(home).post(&format!("/v1/{verb}"), &selector).await?;
    if output.json() {
        output.value(&done)?;
    } else {
        output.line(sentence(verb, &done))?;
    }
    Ok(Exit::Done)
}

pub(super) fn selector(selection: Selection) -> Selector {
    match selection {
        Selection { all: true, .. } => Selector::All,
        Selection { tag: Some(tag), .. } => Selector::Tag(tag),
        Selection { context: Some(context), .. } => Selector::Context(context),
        Selection { names, .. } => Selector::Names(names),
    }
}

fn sentence(verb: &str, done: &Done) -> String {
    let what = match done.forwards.as_slice() {
        [] => format!("nothing to {verb}"),
        names => format!("{verb}: {}", names.join(", ")),
    };
    match &done.message {
        Some(message) => format!("{what}\n{message}"),
        None => what,
    }
}
