//! Owns the toolkit's loop: builds the app around a running engine and turns the
//! toolkit's events into actions and the one ending.

use crate::bridge::{self, Bridge};
use crate::context;
use crate::controller::{Controller, Inputs};
use crate::desktop;
use crate::ending::Ending;
use crate::notifications::Notifications;
use crate::surface::tauri::TauriSurface;
use crate::surface::{Action, Surface};
use localport_core::lifecycle::QuitSource;
use localport_core::shutdown::Reason;
use localport_engine::handle::EngineHandle;
use localport_engine::host::RunningHost;
use localport_engine::registry::{Registry, Tasks};
use localport_lifecycle::Watch;
use std::sync::Arc;
use std::time::Duration;
use tauri::{AppHandle, Manager, RunEvent, WindowEvent};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Clicks that wait for the controller; more than a hand can make while it is busy.
const ACTIONS: usize = 64;

/// How long the end waits for the desktop to take notifications away.
const FAREWELL: Duration = Duration::from_millis(500);

/// When the window opens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// At the start.
    AtOnce,
    /// At the start when there is no tray to open it from.
    WithoutTray,
    /// Never.
    Never,
}

/// Runs the app around `host` until it ends, and gives the exit code.
///
/// # Errors
/// When the toolkit cannot start; the host has been stopped then.
pub(crate) fn run(
    runtime: &Runtime,
    host: RunningHost,
    opening: Opening,
    watch: Option<Watch>,
) -> tauri::Result<i32> {
    tauri::async_runtime::set(runtime.handle().clone());
    // The toolkit calls back on this thread, and what it calls may start tasks.
    let _context = runtime.enter();
    let built = tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![
            bridge::watch,
            bridge::command,
            bridge::explain,
            bridge::copy
        ])
        .build(context::context());
    let app = match built {
        Ok(app) => app,
        Err(error) => {
            runtime.block_on(host.stop(Reason::Failure));
            return Err(error);
        }
    };
    let shell = Shell::assemble(app.handle(), host, opening, watch);
    let code = app.run_return(move |_, event| shell.on_event(&event));
    Ok(code)
}

/// What the toolkit's events need.
struct Shell {
    engine: EngineHandle,
    surface: Arc<TauriSurface>,
    ending: Arc<Ending>,
    app: AppHandle,
    tasks: Tasks,
}

impl Shell {
    fn assemble(
        app: &AppHandle,
        mut host: RunningHost,
        opening: Opening,
        watch: Option<Watch>,
    ) -> Self {
        // An account of its own: the engine's is checked to be empty while the app still runs.
        let tasks = Tasks::new("desktop", &Registry::default());
        let engine = host.engine.clone();
        let ending = Arc::new(Ending::new());
        let (say, actions) = mpsc::channel(ACTIONS);
        let (note, recent) = watch::channel(vec![]);
        let notifications = Notifications::new(engine.clone(), tasks.clone(), say.clone(), note);
        let surface = Arc::new(TauriSurface::new(app.clone(), say, desktop::tray_library()));
        app.manage(Bridge::new(
            engine.clone(),
            host.explainer.clone(),
            surface.clone(),
            tasks.child("window"),
        ));

        if let Some(watch) = &watch {
            host.account_for(watch.holdings());
        }
        let inputs = Inputs { actions, windows: host.take_open_window(), lifecycle: watch };
        let controller =
            Controller::new(engine.clone(), surface.clone(), ending.clone(), tasks.clone())
                .with_reload(host.reload.clone())
                .with_recent(recent);
        tasks.spawn("controller", controller.run(inputs));
        tasks.spawn("first window", first_window(surface.clone(), opening));
        let (gate, ended) = (ending.clone(), engine.clone());
        desktop::when_display_is_lost(move || {
            gate.drain_blocking(&ended, QuitSource::DisplayLost.into())
        });
        let told = tasks.spawn("notifications", notifications.run());
        tasks.spawn_to_end("host", leave(host, ending.clone(), told, app.clone()));
        Self { engine, surface, ending, app: app.clone(), tasks }
    }

    fn on_event(&self, event: &RunEvent) {
        match event {
            RunEvent::Ready => self.ready(),
            RunEvent::MenuEvent(event) => self.surface.clicked(event.id().as_ref()),
            RunEvent::WindowEvent { event: WindowEvent::Destroyed, .. } => {
                self.app.state::<Bridge>().page_gone();
                self.surface.say(Action::WindowClosed);
            }
            RunEvent::ExitRequested { code, api, .. } => self.exit_requested(*code, api),
            RunEvent::Exit => {
                self.ending.drain_blocking(&self.engine, Reason::Logout);
                self.tasks.cancel();
                self.surface.close();
            }
            _ => {}
        }
    }

    /// A tray app has no place in the dock.
    #[cfg(target_os = "macos")]
    fn ready(&self) {
        if let Err(error) = self.app.set_activation_policy(tauri::ActivationPolicy::Accessory) {
            tracing::warn!("the app stays in the dock: {error}");
        }
    }

    #[cfg(not(target_os = "macos"))]
    fn ready(&self) {}

    fn exit_requested(&self, code: Option<i32>, api: &tauri::ExitRequestApi) {
        match code {
            // The last window is gone; whether that is the end, the controller says.
            None => api.prevent_exit(),
            Some(_) if self.ending.code().is_none() => {
                api.prevent_exit();
                self.ending.begin(&self.engine, Reason::Person);
            }
            Some(_) => {}
        }
    }
}

/// Waits for the end of the engine, whoever asked for it, and ends the app with it.
async fn leave(
    host: RunningHost,
    ending: Arc<Ending>,
    told: JoinHandle<Option<()>>,
    app: AppHandle,
) {
    let stopped = host.wait().await;
    // Said first: whoever waits at the gate may end the process right after it opens.
    tracing::info!(took_ms = stopped.took_ms, clean = stopped.is_clean(), "everything is released");
    let code = ending.finish(&stopped);
    // What is still shown offers what nobody would hear any more.
    if timeout(FAREWELL, told).await.is_err() {
        tracing::info!("the desktop did not take every notification away in time");
    }
    app.exit(code);
}

async fn first_window(surface: Arc<TauriSurface>, opening: Opening) {
    let open = match opening {
        Opening::AtOnce => true,
        Opening::Never => false,
        Opening::WithoutTray => !desktop::tray_library() || !desktop::tray_host().await,
    };
    if open {
        surface.open_window();
    }
}
