//! Owns `ssh trust`: accepting an unknown host key after a person has looked at it.

use crate::args::SshCommand;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::command::Done;
use localport_core::problem::{Code, Problem};
use localport_core::status::ForwardStatus;
use localport_engine::control::client::{Client, encode};
use localport_engine::home::Home;
use std::io::{self, IsTerminal, Write};

/// `localport ssh …`
pub(crate) async fn run(
    home: &Home,
    command: SshCommand,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    match command {
        SshCommand::Trust { name, yes } => trust(&Client::new(home), &name, yes, output).await,
    }
}

async fn trust(
    client: &Client,
    name: &str,
    yes: bool,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let forward: ForwardStatus = client.get(&format!("/v1/status/{}", encode(name))).await?;
    let problem = unknown_key(&forward)?;
    if !output.json() {
        output.line(&problem.sentence)?;
    }
    if !yes && !confirmed(output)? {
        let sentence = "the key was not accepted";
        return Err(CommandError::new(Exit::Failure, "not-confirmed", sentence, ""));
    }
    let path = format!("/v1/trust-host-key/{}", encode(name));
    let done: Done = client.post(&path, &()).await?;
    if output.json() {
        output.value(&done)?;
    } else {
        output.line(done.message.as_deref().unwrap_or("accepted"))?;
    }
    Ok(Exit::Done)
}

/// The problem that an unknown key is; an error when the forward has another one or none.
fn unknown_key(forward: &ForwardStatus) -> Result<&Problem, CommandError> {
    let name = &forward.name;
    match &forward.problem {
        Some(problem) if problem.code == Code::SshHostKeyUnknown => Ok(problem),
        Some(problem) => Err(CommandError::new(
            Exit::Failure,
            problem.code.as_str(),
            format!("`{name}` has no unknown host key: {}", problem.sentence),
            &problem.hint,
        )),
        None => Err(CommandError::new(
            Exit::Failure,
            "nothing-to-trust",
            format!("`{name}` has no unknown host key"),
            &format!("`localport status {name}` shows how it stands"),
        )),
    }
}

/// Asks the person at the terminal; without one, says how to answer beforehand.
fn confirmed(output: &Output) -> Result<bool, CommandError> {
    if output.json() || !io::stdin().is_terminal() {
        let sentence = "nobody is here to look at the key";
        let hint = "compare the fingerprint with the host's own, then add `--yes`";
        return Err(CommandError::new(Exit::Usage, "not-confirmed", sentence, hint));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "Is this the host's key? Type `yes` to accept it: ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
