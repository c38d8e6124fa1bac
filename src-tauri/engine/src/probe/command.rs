//! Owns the `command` check: a program of the person's own, run as it is written.

use super::words::Blame;
use localport_core::problem::{Code, Problem};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// Bytes of what the command says that are kept for its problem.
const WORDS: u64 = 4096;

/// Runs the command; exit code 0 is healthy. Dropping the future kills it.
pub(super) async fn probe(argv: &[String], forward: &str, blame: Blame<'_>) -> Result<(), Problem> {
    let Some((program, args)) = argv.split_first() else {
        let hint = "Write `command: [program, argument]` under `config`";
        return Err(blame.invalid("it names no `command`", hint));
    };
    let mut child = Command::new(program)
        .args(args)
        .env("LOCALPORT_FORWARD", forward)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let why = format!("`{program}` cannot be started: {error}");
            blame.invalid(why, "Write the program's whole path, and check that it may be run")
        })?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut stderr = stderr.take(WORDS);
        // What it says is for people only; without it the exit code speaks.
        let _ = stderr.read_to_end(&mut said).await;
    }
    let status = child.wait().await.map_err(|error| blame.broke(&error))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let words = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    Err(Problem::new(
        Code::CheckCommand,
        format!("`{program}` ended with {status}{words}"),
        "Run the command by hand to see why",
    ))
}
