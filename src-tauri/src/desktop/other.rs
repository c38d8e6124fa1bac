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
