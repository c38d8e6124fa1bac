//! Owns `history`: how a forward stood, from the running host or from its file.

use crate::args::History;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::record::{Account, lines};
use localport_core::time::Timestamp;
use localport_engine::control::client::{Client, ClientError, encode};
use localport_engine::home::Home;
use localport_engine::logs::clock::{local_minute, now};
use localport_engine::store::Database;

/// `localport history NAME`
pub(crate) async fn run(
    home: &Home,
    history: &History,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let since = history.since.map(|since| format!("?since_s={}", since.as_secs()));
    let path = format!("/v1/history/{}{}", encode(&history.name), since.unwrap_or_default());
    let account: Account = match Client::new(home).get(&path).await {
        Err(ClientError::NotRunning) => kept(home, history)?,
        answer => answer?,
    };
    if output.json() {
        output.value(&account)?;
        return Ok(Exit::Done);
    }
    for line in lines(&account, local_minute) {
        output.line(line)?;
    }
    Ok(Exit::Done)
}

/// What the last host kept.
fn kept(home: &Home, history: &History) -> Result<Account, CommandError> {
    let unknown = || {
        CommandError::new(
            Exit::Usage,
            "unknown-forward",
            format!("nothing is kept of a forward `{}`", history.name),
            "`localport config check` says which forwards there are",
        )
    };
    let database = Database::read(&home.database())?.ok_or_else(unknown)?;
    // A host that was killed has looked until then and not longer.
    let until = database.looked()?.unwrap_or_default();
    let since = history.since.map_or(Timestamp::default(), |since| now() - since);
    let account = database.account(&history.name, since, until.max(since))?;
    if account.standing.is_none() { Err(unknown()) } else { Ok(account) }
}
