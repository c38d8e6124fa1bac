//! Owns the host that the demo shows: in this process, or the tray app beside it.

use super::ground::Ground;
use crate::exit::{CommandError, Exit};
use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_core::status::Status;
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::control::client::{Client, ClientError, Quitting};
use localport_engine::host::{self, HostOptions, Role, RunningHost};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// Time for the app to answer; it waits for the desktop's own services.
const APP_START: Duration = Duration::from_secs(30);
/// How often the app is asked whether it answers: nothing announces another process's socket.
const APP_ASK: Duration = Duration::from_millis(100);

/// A running host with the demo's configuration.
pub(crate) struct Stage {
    client: Client,
    host: Host,
}

enum Host {
    Here(Box<RunningHost>),
    App(Child),
}

impl Stage {
    /// A headless host in this process.
    pub(crate) async fn here(ground: &Ground) -> Result<Self, CommandError> {
        let options = HostOptions {
            config_files: vec![ground.config()],
            ssh: SshOptions {
                extra_args: vec!["-F".into(), ground.ssh_config().into()],
                ..host::ssh_options()
            },
            ..HostOptions::new(ground.home(), Role::Headless)
        };
        let host = Host::Here(Box::new(host::start(options).await?));
        Ok(Self { client: Client::new(&ground.home()), host })
    }

    /// The tray app `program`, with its window.
    pub(crate) async fn app(program: &Path, ground: &Ground) -> Result<Self, CommandError> {
        let child = Command::new(program)
            .arg("--window")
            .arg("--config")
            .arg(ground.config())
            .env("LOCALPORT_HOME", ground.home_root())
            .env("LOCALPORT_SSH_CONFIG", ground.ssh_config())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let sentence = format!("cannot start `{}`: {error}", program.display());
                let hint = "build it with `cargo build -p localport-desktop`";
                CommandError::new(Exit::Failure, "desktop", sentence, hint)
            })?;
        let mut stage = Self { client: Client::new(&ground.home()), host: Host::App(child) };
        stage.answers().await?;
        Ok(stage)
    }

    /// Asks the host.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the host; how it went, unless somebody ended the app before.
    pub(crate) async fn end(self) -> Result<Option<Receipt>, CommandError> {
        match self.host {
            Host::Here(host) => Ok(Some(host.stop(Reason::Person).await)),
            Host::App(mut child) => {
                let wait = json!({ "wait": true });
                let stopped = match self.client.post::<Quitting, _>("/v1/quit", &wait).await {
                    Ok(quitting) => quitting.stopped,
                    Err(ClientError::NotRunning) => None,
                    Err(error) => return Err(error.into()),
                };
                child.wait().await?;
                Ok(stopped)
            }
        }
    }

    async fn answers(&mut self) -> Result<(), CommandError> {
        let end = Instant::now() + APP_START;
        while self.client.get::<Status>("/v1/status").await.is_err() {
            if let Host::App(child) = &mut self.host
                && let Some(status) = child.try_wait()?
            {
                let sentence = format!("the desktop app ended at once: {status}");
                let hint = "its own words stand above; without it: `localport demo`";
                return Err(CommandError::new(Exit::Failure, "desktop", sentence, hint));
            }
            if Instant::now() > end {
                let sentence = "the desktop app does not answer";
                let hint = "see it without the app: `localport demo`";
                return Err(CommandError::new(Exit::Failure, "desktop", sentence, hint));
            }
            sleep(APP_ASK).await;
        }
        Ok(())
    }
}
