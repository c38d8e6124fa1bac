//! Owns `logs`: the log files, whether or not something runs.

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_engine::control::client::{Client, encode};
use localport_engine::home::Home;
use localport_engine::logs::{Line, tail};

/// `localport logs`
pub(crate) async fn run(
    home: &Home,
    wanted: &args::Logs,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    if wanted.path {
        output.line(home.logs().display().to_string())?;
        return Ok(Exit::Done);
    }
    let name = wanted.name.as_deref();
    if wanted.follow {
        let forward = name.map(encode).unwrap_or_default();
        let path = format!("/v1/logs?follow=true&limit={}&forward={forward}", wanted.limit);
        return follow(&Client::new(home), &path, output).await;
    }
    for line in tail(&home.logs(), name, wanted.limit)? {
        show(&line, output)?;
    }
    Ok(Exit::Done)
}

async fn follow(client: &Client, path: &str, output: &mut Output) -> Result<Exit, CommandError> {
    let mut lines = client.lines(path).await?;
    while let Some(line) = lines.next().await? {
        show(&line, output)?;
    }
    output.note("LocalPort has ended");
    Ok(Exit::Done)
}

fn show(line: &str, output: &mut Output) -> std::io::Result<()> {
    match Line::parse(line) {
        Some(line) if !output.json() => output.line(line.for_people(output.colour())),
        _ => output.line(line),
    }
}
