//! Owns the seam to what a person sees and touches: the controller speaks to a
//! [`Surface`] and hears [`Action`]s, whatever toolkit stands behind.

pub(crate) mod tauri;

use crate::tray::Menu;
use localport_core::bridge::Declined;
use localport_core::command::Selector;

/// What a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Switch a forward on or off.
    Switch {
        /// The forward.
        name: String,
        /// Whether it shall be on.
        on: bool,
    },
    /// Switch several forwards on or off.
    SwitchGroup {
        /// Which.
        selector: Selector,
        /// Whether they shall be on.
        on: bool,
    },
    /// Make the waiting retries of several forwards due.
    Retry {
        /// Which.
        selector: Selector,
    },
    /// Log in to a Kubernetes context.
    LogIn {
        /// Which.
        context: String,
    },
    /// Copy a forward's local address.
    Copy {
        /// The forward.
        name: String,
    },
    /// Make a forward's retry due, or restart its session.
    Remedy {
        /// The forward.
        name: String,
    },
    /// Open the window, or bring it to the front.
    OpenWindow,
    /// The window was closed.
    WindowClosed,
    /// End.
    Quit,
    /// Call the end off.
    KeepRunning,
}

/// What a person sees. Calls return at once and may come from any thread.
pub(crate) trait Surface: Send + Sync + 'static {
    /// Shows `menu`; the surface sends to the screen only what differs.
    fn show(&self, menu: Menu);
    /// Opens the window, or brings it to the front.
    fn open_window(&self);
    /// Puts `text` on the clipboard.
    ///
    /// # Errors
    /// When the clipboard does not take it.
    fn copy(&self, text: &str) -> Result<(), Declined>;
    /// Whether a tray shows the menu. Without one the window is all there is.
    fn has_tray(&self) -> impl Future<Output = bool> + Send;
}
