//! The tray app's process: arguments, display, runtime, host, toolkit, exit code.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod app;
mod args;
mod bridge;
mod context;
mod controller;
mod desktop;
mod ending;
mod notifications;
mod start;
mod surface;
mod tray;

use app::Opening;
use args::Arguments;
use clap::Parser;
use localport_engine::deadline::Deadline;
use localport_engine::verify::RUNTIME_THREAD;
use localport_lifecycle::{Host, Watch};
use start::{StartError, Started};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::timeout;

/// Time for blocking work that is left at the end; it is then abandoned.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// Time the system's services have to answer at the start; it goes on without them.
const SETTLE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    if let Some(code) = localport_engine::adapter::ssh::askpass::run_helper() {
        return code;
    }
    forbid_automation();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too. A closed pipe is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}\n  hint: {}", error.hint());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<i32, StartError> {
    desktop::display()?;
    let deadline = Deadline::default();
    let _guard = deadline.guard(end_by_force)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(RUNTIME_THREAD)
        .enable_all()
        .build()?;
    // Watched from here on, so that a signal during the start ends it in order.
    let watch = runtime.block_on(watch());
    let result = match runtime.block_on(start::start(arguments, deadline))? {
        Started::Elsewhere(sentence) => {
            let _ = writeln!(io::stdout(), "{sentence}");
            Ok(0)
        }
        Started::Host(host) => app::run(&runtime, *host, opening(arguments), watch),
    };
    runtime.shutdown_timeout(RUNTIME_END);
    Ok(result?)
}

/// Something keeps the process from ending: neither toolkit nor runtime can be asked.
#[allow(clippy::disallowed_methods, reason = "the last resort, with the exit code it deserves")]
fn end_by_force() {
    let _ = writeln!(io::stderr(), "LocalPort did not end in time and is ended by force");
    std::process::exit(ending::FORCED);
}

async fn watch() -> Option<Watch> {
    match localport_lifecycle::watch(Host::Desktop) {
        Ok(mut watch) => {
            // What it holds is there before the host looks at what it has itself.
            let _ = timeout(SETTLE, watch.settled()).await;
            Some(watch)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "signals are not watched: {error}");
            None
        }
    }
}

fn opening(arguments: &Arguments) -> Opening {
    match arguments {
        Arguments { window: true, .. } => Opening::AtOnce,
        Arguments { hidden: true, .. } => Opening::Never,
        _ => Opening::WithoutTray,
    }
}

/// With this variable any program could drive the window of a shipped build.
fn forbid_automation() {
    if !cfg!(debug_assertions) {
        // SAFETY: the process has one thread as yet, so nobody reads the environment.
        #[allow(unsafe_code)]
        unsafe {
            std::env::remove_var("TAURI_WEBVIEW_AUTOMATION");
        }
    }
}
