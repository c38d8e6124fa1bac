//! Owns `resources`: everything that a running host holds.

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::table::{Cell, Row, lines};
use crate::output::{Output, age};
use localport_engine::control::client::Client;
use localport_engine::home::Home;
use serde_json::Value;

/// `localport resources`
pub(crate) async fn run(
    home: &Home,
    wanted: &args::Resources,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    if wanted.verify {
        return verify(home, output).await;
    }
    let answer: Value = Client::new(home).get("/v1/resources").await?;
    if output.json() {
        output.value(&answer)?;
        return Ok(Exit::Done);
    }
    let leases = answer["resources"].as_array().cloned().unwrap_or_default();
    let rows: Vec<Row> = leases.iter().map(|lease| row(lease, &leases)).collect();
    for line in lines(&["KIND", "OWNER", "NAME", "AGE", "STANDS ON"], &rows, output.colour()) {
        output.line(line)?;
    }
    Ok(Exit::Done)
}

/// `localport resources --verify`
async fn verify(home: &Home, output: &mut Output) -> Result<Exit, CommandError> {
    let answer: Value = Client::new(home).get("/v1/resources/verify").await?;
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let names = |check: &Value| check["unexplained"].as_array().cloned().unwrap_or_default();
    let is_clean = checks.iter().all(|check| names(check).is_empty());
    let exit = if is_clean { Exit::Done } else { Exit::Failure };
    if output.json() {
        output.value(&answer)?;
        return Ok(exit);
    }
    for check in &checks {
        let what = check["what"].as_str().unwrap_or_default();
        let (start, now) = (&check["start"], &check["end"]);
        let unexplained = names(check);
        let verdict = match unexplained.len() {
            0 => "all explained".to_owned(),
            count => format!("{count} not explained"),
        };
        output.line(format!("{what}: {now} now, {start} at the start, {verdict}"))?;
        for name in unexplained.iter().filter_map(Value::as_str) {
            output.line(format!("  {name}"))?;
        }
    }
    if let Some(unseen) = answer["unseen"].as_str() {
        output.note(unseen);
    }
    Ok(exit)
}

fn row(lease: &Value, leases: &[Value]) -> Row {
    let text = |key: &str| Cell::plain(lease[key].as_str().unwrap_or_default());
    let seconds = lease["age_ms"].as_u64().unwrap_or_default() / 1_000;
    Row {
        cells: vec![
            text("kind"),
            text("owner"),
            text("name"),
            Cell::plain(age(seconds)),
            Cell::plain(names(lease, leases)),
        ],
        below: Vec::new(),
    }
}

/// What it needs, by name.
fn names(lease: &Value, leases: &[Value]) -> String {
    let ids = lease["stands_on"].as_array().into_iter().flatten();
    let name = |id: &Value| leases.iter().find(|lease| lease["id"] == *id)?["name"].as_str();
    ids.filter_map(name).collect::<Vec<_>>().join(", ")
}
