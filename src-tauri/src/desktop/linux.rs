//! Linux: an X11 or Wayland display, the appindicator library, and a tray host on the
//! session bus.

use super::NoDisplay;
use std::env;
use std::time::Duration;
use tokio::time::timeout;
use zbus::{Connection, Variant};

/// A desktop that does not answer in this time has no tray for us.
const HOST_BUDGET: Duration = Duration::from_secs(1);

/// Names under which the tray's library is looked for, as its binding does.
const TRAY_LIBRARIES: [&str; 4] = [
    "libayatana-appindicator3.so.1",
    "libappindicator3.so.1",
    "libayatana-appindicator3.so",
    "libappindicator3.so",
];

/// Opens the display. Called on the main thread, before the toolkit, which panics
/// without one.
///
/// # Errors
/// When there is no display.
pub(crate) fn display() -> Result<(), NoDisplay> {
    let named = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(name) = named("WAYLAND_DISPLAY").or_else(|| named("DISPLAY")) else {
        return Err(NoDisplay::Unset);
    };
    gtk::init().map_err(|_| NoDisplay::Silent(name))
}

/// Whether the library is installed that puts the icon up; its binding panics without.
pub(crate) fn tray_library() -> bool {
    TRAY_LIBRARIES.iter().any(|name| {
        // SAFETY: loading runs the library's initialisers. It is the very library that
        // the toolkit loads right after, on the same thread, and it has none that
        // depend on the order of loading.
        #[allow(unsafe_code)]
        unsafe { libloading::Library::new(name) }.is_ok()
    })
}

/// Whether something on this desktop shows tray icons now.
pub(crate) async fn tray_host() -> bool {
    matches!(timeout(HOST_BUDGET, ask_for_host()).await, Ok(Ok(true)))
}

async fn ask_for_host() -> zbus::Result<bool> {
    const BUS: &str = "org.freedesktop.DBus";
    const WATCHER: &str = "org.kde.StatusNotifierWatcher";
    let bus = Connection::session().await?;
    let owned = bus
        .call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &WATCHER)
        .await?;
    // Asking a name without owner would start a service that nobody wanted.
    if !owned.body().deserialize::<bool>()? {
        return Ok(false);
    }
    let host = bus
        .call_method(
            Some(WATCHER),
            "/StatusNotifierWatcher",
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(WATCHER, "IsStatusNotifierHostRegistered"),
        )
        .await?;
    Ok(matches!(host.body().deserialize::<Variant<'_>>()?, Variant::Bool(true)))
}
