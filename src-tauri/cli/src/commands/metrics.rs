//! Owns `metrics`: the figures of a running host, as monitoring reads them.

use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_engine::control::client::Client;
use localport_engine::home::Home;
use serde_json::json;

/// `localport metrics`
pub(crate) async fn run(home: &Home, output: &mut Output) -> Result<Exit, CommandError> {
    let page = Client::new(home).text("/v1/metrics").await?;
    if output.json() {
        output.value(&json!({ "metrics": page }))?;
    } else {
        output.line(page.trim_end())?;
    }
    Ok(Exit::Done)
}
