//! Owns what follows from what: one loop between the engine and the surface.
//!
//! Receives snapshots, a person's actions, requests to open the window and the
//! operating system's events; emits menus, commands and the end.

use crate::ending::Ending;
use crate::surface::{Action, Surface};
use crate::tray;
use localport_core::command::{Command, Selector};
use localport_core::config::reload::Who;
use localport_core::lifecycle::LifecycleEvent;
use localport_core::notify::Recent;
use localport_core::shutdown::Reason;
use localport_core::snapshot::{Forward, Snapshot, Standing};
use localport_engine::config_store::Reloader;
use localport_engine::handle::EngineHandle;
use localport_engine::registry::Tasks;
use localport_lifecycle::{Notice, Watch};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Menus may follow each other four times a second: faster is not readable, and each
/// costs the panel a redraw.
const PACE: Duration = Duration::from_millis(250);

/// What reaches the controller from outside the engine.
pub(crate) struct Inputs {
    /// What a person asked for.
    pub(crate) actions: mpsc::Receiver<Action>,
    /// A second start asks for the window.
    pub(crate) windows: Option<mpsc::Receiver<()>>,
    /// Signals and console events.
    pub(crate) lifecycle: Option<Watch>,
}

/// The loop's state.
pub(crate) struct Controller<S> {
    engine: EngineHandle,
    surface: Arc<S>,
    ending: Arc<Ending>,
    tasks: Tasks,
    reload: Option<Reloader>,
    recent: watch::Receiver<Vec<Recent>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    shown: Option<tray::Menu>,
    /// When the next menu may be shown, and whether one is due then.
    pace: Instant,
    due: bool,
}

impl<S: Surface> Controller<S> {
    /// A controller that has shown nothing yet.
    pub(crate) fn new(
        engine: EngineHandle,
        surface: Arc<S>,
        ending: Arc<Ending>,
        tasks: Tasks,
    ) -> Self {
        let snapshot = engine.snapshot();
        let pace = Instant::now();
        Self {
            engine,
            surface,
            ending,
            tasks,
            reload: None,
            recent: watch::channel(vec![]).1,
            snapshot,
            shown: None,
            pace,
            due: true,
        }
    }

    /// Has the configuration read again on HUP.
    pub(crate) fn with_reload(self, reload: Reloader) -> Self {
        Self { reload: Some(reload), ..self }
    }

    /// Has the menu list recent troubles.
    pub(crate) fn with_recent(self, recent: watch::Receiver<Vec<Recent>>) -> Self {
        Self { recent, ..self }
    }

    /// Runs until the engine's last snapshot.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        loop {
            let wake = self.wake();
            tokio::select! {
                biased;
                notice = lifecycle(&mut inputs.lifecycle) => self.obey(notice),
                Some(action) = inputs.actions.recv() => self.act(action).await,
                Some(()) = window(&mut inputs.windows) => self.surface.open_window(),
                changed = self.snapshot.changed(), if !self.due => match changed {
                    Ok(()) => self.due = true,
                    Err(_) => {
                        if let Some(watch) = inputs.lifecycle.take() {
                            watch.until_exit();
                        }
                        return self.show();
                    }
                },
                Ok(()) = self.recent.changed(), if !self.due => self.due = true,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.show(),
            }
        }
    }

    fn wake(&self) -> Option<Instant> {
        if self.due {
            return Some(self.pace);
        }
        let clock = self.engine.clock();
        let next = tray::next_change(&self.snapshot.borrow(), clock.now())?;
        Some(clock.instant(next).max(self.pace))
    }

    fn show(&mut self) {
        let menu = {
            let snapshot = self.snapshot.borrow_and_update();
            let recent = self.recent.borrow_and_update();
            tray::menu(&snapshot, &recent, self.engine.clock().now())
        };
        self.due = false;
        self.pace = Instant::now() + PACE;
        if self.shown.as_ref() != Some(&menu) {
            self.shown = Some(menu.clone());
            self.surface.show(menu);
        }
    }

    fn obey(&self, Notice { event, done }: Notice) {
        match event {
            LifecycleEvent::QuitRequested { source } => {
                tracing::info!(?source, "asked to quit");
                self.ending.begin(&self.engine, source.into());
            }
            LifecycleEvent::ReloadRequested => {
                if let Some(reload) = &self.reload {
                    reload.ask(Who::Hup);
                }
            }
            LifecycleEvent::SessionEnding { end, within } => {
                tracing::info!(?end, ?within, "the session ends");
                self.ending.session_ends(&self.engine, end, within, done);
            }
            LifecycleEvent::SessionEndCancelled => self.ending.session_goes_on(&self.engine),
            LifecycleEvent::WillSleep { within } => {
                let engine = self.engine.clone();
                self.tasks.spawn("suspend", async move {
                    engine.suspend(within).await;
                    drop(done);
                });
            }
            LifecycleEvent::DidWake { slept } => self.engine.wake(slept),
            LifecycleEvent::NetworkChanged => self.engine.network_changed(),
        }
    }

    async fn act(&self, action: Action) {
        match action {
            Action::Switch { name, on } => {
                let selector = Selector::Names(vec![name]);
                self.ask(if on { Command::Start(selector) } else { Command::Stop(selector) });
            }
            Action::SwitchGroup { selector, on } => {
                self.ask(if on { Command::Start(selector) } else { Command::Stop(selector) });
            }
            Action::Retry { selector } => self.ask(Command::RetryNow(selector)),
            Action::LogIn { context } => self.ask(Command::Login(context)),
            Action::KeepRunning => self.ask(Command::CancelQuit),
            Action::Remedy { name } => {
                if let Some(command) = self.remedy(name) {
                    self.ask(command);
                }
            }
            Action::Copy { name } => {
                if let Some(address) = self.about(&name, |forward| forward.local.clone())
                    && let Err(declined) = self.surface.copy(&address)
                {
                    tracing::warn!(?declined, "could not copy");
                }
            }
            Action::OpenWindow => self.surface.open_window(),
            Action::WindowClosed => {
                // Without a tray the window is all there is of LocalPort.
                if !self.surface.has_tray().await {
                    self.ending.begin(&self.engine, Reason::Person);
                }
            }
            Action::Quit => self.ending.begin(&self.engine, Reason::Person),
        }
    }

    /// A log-in is begun where one is waited for; else a waiting forward is tried now, any
    /// other gets a new session.
    fn remedy(&self, name: String) -> Option<Command> {
        let now = self.engine.clock().now();
        let login = {
            let snapshot = self.snapshot.borrow();
            let forward = snapshot.forwards.iter().find(|forward| forward.name == name)?;
            tray::login(&snapshot, forward).map(str::to_owned)
        };
        if let Some(context) = login {
            return Some(Command::Login(context));
        }
        let standing = self.about(&name, |forward| forward.standing(now))?;
        let selector = Selector::Names(vec![name]);
        match standing {
            Standing::Off => None,
            Standing::Broken | Standing::Waiting => Some(Command::RetryNow(selector)),
            Standing::Unproved | Standing::Serving => Some(Command::Restart(selector)),
        }
    }

    fn about<T>(&self, name: &str, of: impl FnOnce(&Forward) -> T) -> Option<T> {
        self.snapshot.borrow().forwards.iter().find(|forward| forward.name == name).map(of)
    }

    /// Asks the engine without making the loop wait for its answer.
    fn ask(&self, command: Command) {
        let engine = self.engine.clone();
        self.tasks.spawn("tray command", async move {
            if let Err(refusal) = engine.command(command).await {
                tracing::warn!("refused: {refusal}");
            }
        });
    }
}

async fn lifecycle(watch: &mut Option<Watch>) -> Notice {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn window(requests: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match requests {
        Some(requests) => requests.recv().await,
        None => std::future::pending().await,
    }
}
