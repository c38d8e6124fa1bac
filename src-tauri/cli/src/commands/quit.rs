//! Owns `quit`: the end of a running host.

use super::live::{self, Live};
use crate::args::Quit;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::command::Done;
use localport_core::receipt::{Held, Receipt};
use localport_core::shutdown::Because;
use localport_engine::control::client::{Client, Quitting};
use localport_engine::home::Home;
use serde_json::json;

/// `localport quit`
pub(crate) async fn run(
    home: &Home,
    quit: &Quit,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    if quit.cancel {
        let done: Done = Client::new(home).post("/v1/quit/cancel", &json!({})).await?;
        if output.json() {
            output.value(&done)?;
        } else {
            output.line(done.message.unwrap_or_default())?;
        }
        return Ok(Exit::Done);
    }
    let body = json!({ "wait": quit.wait });
    let client = Client::new(home);
    let asked = client.post("/v1/quit", &body);
    let answer: Quitting = if quit.wait {
        live::follow(&client, asked, &mut Live::new(output)).await?
    } else {
        asked.await?
    };
    if output.json() {
        output.value(&answer)?;
    } else {
        match &answer.stopped {
            None => {
                output.line("LocalPort is quitting")?;
                if output.sees_terminal() {
                    output.note(
                        "  `localport quit --wait` shows how it goes, \
                         `localport quit --cancel` calls it off",
                    );
                }
            }
            Some(stopped) => output.line(sentence(stopped))?,
        }
    }
    Ok(answer.stopped.as_ref().map_or(Exit::Done, exit))
}

/// How it ended, in words.
pub(crate) fn sentence(stopped: &Receipt) -> String {
    let took = stopped.took_ms as f64 / 1_000.0;
    let mut sentence = format!("LocalPort ended in {took:.1} s");
    for stage in &stopped.stages {
        match &stage.because {
            Because::Done | Because::Hurried => {}
            Because::Expired => {
                sentence.push_str(&format!("; {} ran out of time", stage.stage.as_str()))
            }
            Because::Failed(why) => {
                sentence.push_str(&format!("; {} failed: {why}", stage.stage.as_str()));
            }
        }
    }
    if !stopped.forced.is_empty() {
        sentence.push_str(&format!("; forced: {}", names(&stopped.forced)));
    }
    if !stopped.left.is_empty() {
        sentence.push_str(&format!("; left: {}", names(&stopped.left)));
    }
    let unexplained: Vec<String> = stopped
        .checks
        .iter()
        .filter(|check| !check.unexplained.is_empty())
        .map(|check| format!("{} {}", check.what, check.unexplained.join(", ")))
        .collect();
    if !unexplained.is_empty() {
        sentence.push_str(&format!("; not accounted for: {}", unexplained.join("; ")));
    }
    if !stopped.faults.is_empty() {
        sentence.push_str(&format!("; went wrong: {}", stopped.faults.join("; ")));
    }
    sentence
}

/// The exit code that says how it ended.
pub(crate) fn exit(stopped: &Receipt) -> Exit {
    if stopped.is_clean() { Exit::Done } else { Exit::Forced }
}

fn names(held: &[Held]) -> String {
    held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
