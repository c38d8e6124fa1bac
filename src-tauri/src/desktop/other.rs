//! macOS: display and tray are always there.

use super::NoDisplay;

/// Opens the display.
///
/// # Errors
/// Never here.
pub(crate) fn display() -> Result<(), NoDisplay> {
    Ok(())
}

/// Whether a tray icon can be put up.
pub(crate) fn tray_library() -> bool {
    true
}

/// Whether something shows tray icons.
pub(crate) async fn tray_host() -> bool {
    true
}

/// A display does not go away on macOS without the session's end.
pub(crate) fn when_display_is_lost(_end: impl Fn() -> i32 + Send + Sync + 'static) {}
