//! The `localport` command: the headless host, and the tool that asks a running one.
//!
//! `main` tells the life of the process: arguments, runtime, command, exit code.

mod args;
mod commands;
mod exit;
mod output;

use args::Arguments;
use clap::Parser;
use exit::{CommandError, Exit};
use localport_engine::deadline::Deadline;
use localport_engine::verify::RUNTIME_THREAD;
use output::Output;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Time for blocking work that is left when the command is done; it is then abandoned.
const RUNTIME_END: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    if let Some(code) = localport_engine::adapter::ssh::askpass::run_helper() {
        return code;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too. A closed pipe is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let output = Output::new(&arguments);
    let deadline = Deadline::default();
    let shared = deadline.clone();
    let ended = deadline.run(move || {
        let mut output = output;
        let result = run(arguments, &mut output, shared);
        exit::report(result, &mut output)
    });
    match ended {
        Ok(Some(exit)) => exit.into(),
        Ok(None) => {
            let _ = writeln!(io::stderr(), "LocalPort did not end in time and is ended by force");
            Exit::Forced.into()
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot start: {error}");
            Exit::Failure.into()
        }
    }
}

fn run(
    arguments: Arguments,
    output: &mut Output,
    deadline: Deadline,
) -> Result<Exit, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(RUNTIME_THREAD)
        .enable_all()
        .build()?;
    let result = runtime.block_on(commands::run(arguments, output, deadline));
    runtime.shutdown_timeout(RUNTIME_END);
    result
}
