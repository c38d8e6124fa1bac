//! Owns tray, window and clipboard as Tauri gives them.
//!
//! Receives the controller's calls on any thread and carries them to the main thread;
//! emits [`Action`]s.

use super::{Action, Surface};
use crate::desktop;
use crate::tray::Menu;
use crate::tray::render::{self, Tray};
use arboard::Clipboard;
use localport_core::bridge::Declined;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tauri::{AppHandle, Manager, WebviewUrl, WebviewWindowBuilder};
use tokio::sync::mpsc;

/// The window's label, which its capability names.
pub(crate) const WINDOW: &str = "main";

/// Size of a new window, in logical pixels; the rows of the overview fit.
const SIZE: (f64, f64) = (1000.0, 720.0);
/// The smallest size in which a row is still readable.
const MIN_SIZE: (f64, f64) = (560.0, 360.0);

/// Everything on the screen.
pub(crate) struct TauriSurface {
    app: AppHandle,
    tray: Arc<Mutex<Option<Tray>>>,
    clipboard: Mutex<Option<Clipboard>>,
    actions: mpsc::Sender<Action>,
    /// Whether a tray can be put up at all.
    trays: bool,
}

impl TauriSurface {
    /// A surface with nothing on it yet.
    pub(crate) fn new(app: AppHandle, actions: mpsc::Sender<Action>, trays: bool) -> Self {
        Self { app, tray: Arc::default(), clipboard: Mutex::default(), actions, trays }
    }

    /// A click on the menu's item `id`. Called on the main thread.
    pub(crate) fn clicked(&self, id: &str) {
        let tray = lock(&self.tray);
        let Some(tray) = tray.as_ref() else { return };
        let Some(action) = render::action(id, tray.shown()) else { return };
        if let Action::Switch { name, .. } = &action
            && let Err(error) = tray.unflip(name)
        {
            tracing::warn!("the tray's check mark: {error}");
        }
        self.say(action);
    }

    /// Tells the controller. Called where nothing may block.
    pub(crate) fn say(&self, action: Action) {
        if let Err(error) = self.actions.try_send(action) {
            tracing::warn!("an action is lost: {error}");
        }
    }

    /// Takes the tray down. Called on the main thread, at the end.
    pub(crate) fn close(&self) {
        drop(lock(&self.tray).take());
    }
}

impl Surface for TauriSurface {
    fn show(&self, menu: Menu) {
        if !self.trays {
            return;
        }
        let (app, tray) = (self.app.clone(), self.tray.clone());
        let shown = self.app.run_on_main_thread(move || {
            let mut tray = lock(&tray);
            let result = match tray.as_mut() {
                Some(tray) => tray.show(menu),
                None => Tray::new(&app, menu).map(|new| *tray = Some(new)),
            };
            if let Err(error) = result {
                tracing::warn!("the tray: {error}");
            }
        });
        if let Err(error) = shown {
            tracing::debug!("the tray is not drawn any more: {error}");
        }
    }

    fn open_window(&self) {
        let app = self.app.clone();
        let opened = self.app.run_on_main_thread(move || {
            if let Err(error) = open_window(&app) {
                tracing::error!("the window cannot be opened: {error}");
            }
        });
        if let Err(error) = opened {
            tracing::debug!("no window any more: {error}");
        }
    }

    fn copy(&self, text: &str) -> Result<(), Declined> {
        let mut clipboard = lock(&self.clipboard);
        // Kept, because on X11 the text lives in the process that offers it.
        let result = match clipboard.as_mut() {
            Some(clipboard) => clipboard.set_text(text),
            None => Clipboard::new().and_then(|mut new| {
                new.set_text(text)?;
                *clipboard = Some(new);
                Ok(())
            }),
        };
        result.map_err(|error| Declined::Clipboard {
            sentence: format!("the clipboard did not take `{text}`: {error}"),
        })
    }

    async fn has_tray(&self) -> bool {
        lock(&self.tray).is_some() && desktop::tray_host().await
    }
}

fn open_window(app: &AppHandle) -> tauri::Result<()> {
    if let Some(window) = app.get_webview_window(WINDOW) {
        window.show()?;
        window.unminimize()?;
        return window.set_focus();
    }
    let window = WebviewWindowBuilder::new(app, WINDOW, WebviewUrl::default())
        .title("LocalPort")
        .inner_size(SIZE.0, SIZE.1)
        .min_inner_size(MIN_SIZE.0, MIN_SIZE.1)
        // The page is in the program; there is nowhere else to go.
        .on_navigation(|url| url.scheme() == "tauri" || url.host_str() == Some("tauri.localhost"))
        .build()?;
    window.set_focus()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while drawing leaves at worst an old menu.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
