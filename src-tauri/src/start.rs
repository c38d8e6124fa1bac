//! Owns the beginning: one engine per user. Either this process becomes its host, or
//! the host that runs is asked to show itself.

use crate::args::Arguments;
use crate::desktop::NoDisplay;
use localport_engine::control::client::{Client, ClientError};
use localport_engine::deadline::Deadline;
use localport_engine::home::Home;
use localport_engine::host::{self, HostError, HostOptions, Owner, Role, RunningHost};
use localport_engine::logs::{DEFAULT_FILTER, Logs, Terminal};
use serde::Deserialize;
use std::env;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A host that is just leaving gives its open connections 8 s; a start in that time
/// waits for it instead of failing.
const LEAVING_BUDGET: Duration = Duration::from_secs(12);
/// Between two looks at a lock whose holder is leaving; a lock has no event to wait for
/// that works on every file system.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What came of the start.
pub(crate) enum Started {
    /// This process is the host.
    Host(Box<RunningHost>),
    /// Another one is, and this is what there is to say.
    Elsewhere(String),
}

/// Why the app could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Nothing can be drawn.
    #[error(transparent)]
    NoDisplay(#[from] NoDisplay),
    /// The engine's host could not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No runtime, home or log.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The toolkit failed.
    #[error("the desktop toolkit cannot start: {0}")]
    Toolkit(#[from] tauri::Error),
    /// The running desktop app did not answer.
    #[error("LocalPort already runs ({owner}), but does not open its window: {source}")]
    Deaf {
        /// Who runs.
        owner: Box<Owner>,
        /// What went wrong.
        source: ClientError,
    },
}

impl StartError {
    /// What the person can do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            StartError::NoDisplay(_) | StartError::Toolkit(_) => {
                "`localport run` does the same without a window".to_owned()
            }
            StartError::Host(error) => error.hint(),
            StartError::System(_) => "see `localport logs` for what was said last".to_owned(),
            StartError::Deaf { source, .. } => source.hint().to_owned(),
        }
    }
}

/// Becomes the host, or asks the one that runs. `overall` is told when the engine is to
/// have ended.
///
/// # Errors
/// When neither works.
pub(crate) async fn start(arguments: &Arguments, overall: Deadline) -> Result<Started, StartError> {
    let home = Home::find()?;
    home.create()?;
    let logs = open_logs(&home)?;
    let deadline = Instant::now() + LEAVING_BUDGET;
    loop {
        let options = HostOptions {
            config_files: arguments.config_files.clone(),
            logs: Some(logs.clone()),
            deadline: overall.clone(),
            ..HostOptions::new(home.clone(), Role::Desktop)
        };
        let owner = match host::start(options).await {
            Ok(host) => return Ok(Started::Host(Box::new(host))),
            Err(HostError::AlreadyRunning(owner)) => owner,
            Err(HostError::LockHeld { .. }) if Instant::now() < deadline => {
                sleep(LOOK_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match ask(&home, &owner, arguments).await {
            Ok(sentence) => return Ok(Started::Elsewhere(sentence)),
            // It is on its way out and hears nobody any more.
            Err(ClientError::NotRunning) if Instant::now() < deadline => sleep(LOOK_AGAIN).await,
            Err(source) => return Err(StartError::Deaf { owner: Box::new(owner), source }),
        }
    }
}

#[derive(Deserialize)]
struct Accepted {}

async fn ask(home: &Home, owner: &Owner, arguments: &Arguments) -> Result<String, ClientError> {
    match owner.role {
        Role::Headless => Ok(format!(
            "LocalPort already runs without a window: {owner}. End it with `localport quit` \
             to run it in the tray"
        )),
        Role::Desktop if arguments.hidden => Ok(format!("LocalPort already runs: {owner}")),
        Role::Desktop => {
            let Accepted {} = Client::new(home).post("/v1/window", &()).await?;
            Ok(format!("LocalPort already runs: {owner}. Its window opens"))
        }
    }
}

/// Logs go to the files; to standard error too while it is developed.
fn open_logs(home: &Home) -> Result<Logs, StartError> {
    let logs = Logs::open(&home.logs())?;
    let filter = env::var("LOCALPORT_LOG").unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let terminal = if cfg!(debug_assertions) { Terminal::Plain } else { Terminal::Silent };
    logs.install(terminal, &filter)?;
    Ok(logs)
}
