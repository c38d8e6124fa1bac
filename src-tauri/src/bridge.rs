//! Owns what the window's page may ask: a few commands, each with typed answers.
//!
//! All of them are async: a plain one would run on the main thread, which draws.
//! Receives the page's calls; emits updates over a channel that lives as long as the page.

use crate::surface::Surface;
use crate::surface::tauri::TauriSurface;
use localport_core::bridge::{Declined, Update};
use localport_core::command::{Command, Done, Refusal};
use localport_core::diagnosis::Diagnosis;
use localport_engine::explain::Explainer;
use localport_engine::handle::EngineHandle;
use localport_engine::registry::Tasks;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tauri::State;
use tauri::ipc::Channel;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Updates follow each other at most this often: a person sees no more, and the page
/// has time to draw.
const PACE: Duration = Duration::from_millis(100);

/// What the commands work on.
pub(crate) struct Bridge {
    engine: EngineHandle,
    explainer: Explainer,
    surface: Arc<TauriSurface>,
    tasks: Tasks,
    page: Mutex<CancellationToken>,
}

impl Bridge {
    /// A bridge to `engine`, without a page.
    pub(crate) fn new(
        engine: EngineHandle,
        explainer: Explainer,
        surface: Arc<TauriSurface>,
        tasks: Tasks,
    ) -> Self {
        Self { engine, explainer, surface, tasks, page: Mutex::default() }
    }

    /// Ends what was sent to the page; there is one page at most.
    pub(crate) fn page_gone(&self) {
        self.turn_page().cancel();
    }

    /// Ends with the page.
    fn page(&self) -> CancellationToken {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn turn_page(&self) -> CancellationToken {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        page.cancel();
        *page = self.tasks.token().child_token();
        page.clone()
    }
}

/// Sends everything there is, then what changes, until the page is gone.
///
/// # Errors
/// Never; the toolkit wants a result of what borrows its state.
#[tauri::command]
pub(crate) async fn watch(
    channel: Channel<Update>,
    bridge: State<'_, Bridge>,
) -> Result<(), Declined> {
    let page = bridge.turn_page();
    let engine = bridge.engine.clone();
    bridge.tasks.spawn("window", async move {
        page.run_until_cancelled(send_updates(engine, channel)).await;
    });
    Ok(())
}

/// Asks the engine.
///
/// # Errors
/// When the engine refuses; nothing happened then.
#[tauri::command]
pub(crate) async fn command(command: Command, bridge: State<'_, Bridge>) -> Result<Done, Declined> {
    Ok(bridge.engine.command(command).await?)
}

/// Walks the way of the forward or context called `name`. The walk ends with the page.
///
/// # Errors
/// When there is no such forward or context, and while LocalPort quits.
#[tauri::command]
pub(crate) async fn explain(
    name: String,
    bridge: State<'_, Bridge>,
) -> Result<Diagnosis, Declined> {
    let walk = bridge.explainer.ask(&bridge.engine, &name, false);
    let asked = bridge.page().run_until_cancelled(walk).await;
    let found = asked.unwrap_or(Err(Refusal::Quitting))?;
    let unknown = || {
        let snapshot = bridge.engine.snapshot().borrow().clone();
        Refusal::unknown(&name, snapshot.forwards.iter().map(|it| it.name.as_str()))
    };
    Ok(found.ok_or_else(unknown)?)
}

/// Puts text on the clipboard.
///
/// # Errors
/// When the clipboard does not take it.
#[tauri::command]
pub(crate) async fn copy(text: String, bridge: State<'_, Bridge>) -> Result<(), Declined> {
    bridge.surface.copy(&text)
}

async fn send_updates(engine: EngineHandle, channel: Channel<Update>) {
    let _traffic = engine.watch_traffic();
    let mut snapshots = engine.snapshot();
    let mut seen = engine.fresh().await;
    if channel.send(Update::whole(&seen, engine.clock().now())).is_err() {
        return;
    }
    // The end of the engine is the end of the updates; the page keeps the last one.
    while snapshots.changed().await.is_ok() {
        let sent = Instant::now();
        let next = snapshots.borrow_and_update().clone();
        if let Some(update) = Update::between(&seen, &next, engine.clock().now()) {
            // An error means that the window is gone.
            if channel.send(update).is_err() {
                return;
            }
            seen = next;
        }
        sleep_until(sent + PACE).await;
    }
}
