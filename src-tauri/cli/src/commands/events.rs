//! Owns `events`: what happened, and what happens.

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::{Output, paint};
use anstyle::AnsiColor;
use localport_core::event::Event;
use localport_engine::control::client::{Client, Message, encode};
use localport_engine::home::Home;
use localport_engine::logs::clock;
use serde::Deserialize;

/// What `events` gives as JSON.
#[derive(Deserialize)]
struct Events {
    events: Vec<Event>,
}

/// What a client that was too slow is told.
#[derive(Deserialize)]
struct Lagged {
    missed: u64,
}

/// `localport events`
pub(crate) async fn run(
    home: &Home,
    wanted: &args::Events,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let client = Client::new(home);
    let forward = wanted.name.as_deref().map(encode).unwrap_or_default();
    let path = format!("/v1/events?limit={}&forward={forward}", wanted.limit);
    if wanted.follow {
        return follow(&client, &path, output).await;
    }
    let Events { events } = client.get(&path).await?;
    if output.json() {
        output.value(&events)?;
    } else {
        for event in &events {
            output.line(line(event, output.colour()))?;
        }
    }
    Ok(Exit::Done)
}

async fn follow(client: &Client, path: &str, output: &mut Output) -> Result<Exit, CommandError> {
    let mut stream = client.events(path).await?;
    while let Some(message) = stream.message().await? {
        show(&message, output)?;
    }
    output.note("LocalPort has ended");
    Ok(Exit::Done)
}

fn show(message: &Message, output: &mut Output) -> std::io::Result<()> {
    if message.name == "lagged" {
        let Lagged { missed } = serde_json::from_str(&message.data)?;
        output.note(format!("{missed} events were missed"));
        return Ok(());
    }
    if output.json() {
        return output.line(&message.data);
    }
    let event: Event = serde_json::from_str(&message.data)?;
    output.line(line(&event, output.colour()))
}

fn line(event: &Event, colour: bool) -> String {
    let time = clock::local_time(event.at);
    let subject = event.forward.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let words = format!("{subject}{}", event.kind.line());
    let words = paint(colour && event.kind.is_trouble(), AnsiColor::Yellow, &words);
    format!("{time} {words}")
}
