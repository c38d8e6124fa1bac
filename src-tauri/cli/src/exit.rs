//! Owns how a command ends: its exit code, and the sentence and hint on the way.

use crate::output::Output;
use localport_engine::control::client::{ClientError, NOT_FOUND};
use localport_engine::host::HostError;
use serde_json::json;
use std::io;
use std::process::ExitCode;

/// The exit codes; they are part of the public interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Not done.
    Failure = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Done, but something had to be forced.
    Forced = 3,
    /// No host runs.
    NotRunning = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct CommandError {
    /// The exit code that says so.
    pub(crate) exit: Exit,
    /// Stable name, for `--json`.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) sentence: String,
    /// What the person can do about it; empty when there is nothing to say.
    pub(crate) hint: String,
    /// Nothing reads our output any more: not worth a word.
    closed_pipe: bool,
}

impl CommandError {
    /// An error with its sentence and its hint.
    pub(crate) fn new(exit: Exit, code: &str, sentence: impl Into<String>, hint: &str) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            sentence: sentence.into(),
            hint: hint.to_owned(),
            closed_pipe: false,
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let closed_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self { closed_pipe, ..Self::new(Exit::Failure, "io", error.to_string(), "") }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let (exit, code) = match &error {
            ClientError::NotRunning => (Exit::NotRunning, "not-running"),
            // A name that does not exist is a mistake in the command line.
            ClientError::Refused(failure) if failure.status == NOT_FOUND => {
                (Exit::Usage, failure.code.as_str())
            }
            ClientError::Refused(failure) => (Exit::Failure, failure.code.as_str()),
            ClientError::Broken { .. } => (Exit::Failure, "no-answer"),
        };
        Self::new(exit, code, error.to_string(), error.hint())
    }
}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        let (exit, code) = match &error {
            HostError::Config { .. } => (Exit::Usage, "config-unreadable"),
            HostError::AlreadyRunning(_) => (Exit::Failure, "already-running"),
            _ => (Exit::Failure, "host"),
        };
        Self::new(exit, code, error.to_string(), &error.hint())
    }
}

/// Says what went wrong, if something did; the exit code.
pub(crate) fn report(result: Result<Exit, CommandError>, output: &mut Output) -> Exit {
    let error = match result {
        Ok(exit) => return exit,
        Err(error) if error.closed_pipe => return Exit::Done,
        Err(error) => error,
    };
    if output.json() {
        let CommandError { code, sentence, hint, .. } = &error;
        // When the reader has gone there is nobody to tell.
        let _ = output.value(&json!({ "code": code, "message": sentence, "hint": hint }));
    } else {
        output.error(&error.sentence, &error.hint);
    }
    error.exit
}
