//! Owns a window manager's view of the display: which windows stand, and the request
//! to close that a title bar's cross sends.

use super::Screen;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt, EventMask, MapState, Window,
};
use x11rb::rust_connection::RustConnection;

/// A client of the display.
pub struct Windows {
    x: RustConnection,
    root: Window,
}

impl Windows {
    /// Connects to the display of `screen`.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn of(screen: &Screen) -> Self {
        let (x, number) = x11rb::connect(Some(screen.display())).unwrap();
        let root = x.setup().roots[number].root;
        Self { x, root }
    }

    /// Whether a window with this title is on the screen.
    #[must_use]
    pub fn shows(&self, title: &str) -> bool {
        self.find(title).is_some()
    }

    /// Asks the window to close. Gives whether there is one.
    ///
    /// # Panics
    /// When the display is gone.
    #[must_use]
    pub fn close(&self, title: &str) -> bool {
        let Some(window) = self.find(title) else { return false };
        let atom =
            |name: &str| self.x.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
        let data = [atom("WM_DELETE_WINDOW"), x11rb::CURRENT_TIME, 0, 0, 0];
        let message = ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), data);
        self.x.send_event(false, window, EventMask::NO_EVENT, message).unwrap();
        self.x.flush().unwrap();
        true
    }

    fn find(&self, title: &str) -> Option<Window> {
        // Without a window manager every window of an app is a child of the root.
        let windows = self.x.query_tree(self.root).ok()?.reply().ok()?.children;
        windows.into_iter().find(|window| self.is(*window, title).unwrap_or(false))
    }

    /// None when the window is gone meanwhile.
    fn is(&self, window: Window, title: &str) -> Option<bool> {
        let state = self.x.get_window_attributes(window).ok()?.reply().ok()?.map_state;
        let name = self
            .x
            .get_property(false, window, AtomEnum::WM_NAME, AtomEnum::ANY, 0, 256)
            .ok()?
            .reply()
            .ok()?
            .value;
        Some(state == MapState::VIEWABLE && name == title.as_bytes())
    }
}
