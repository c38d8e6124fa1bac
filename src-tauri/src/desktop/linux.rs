//! Linux: an X11 or Wayland display, the appindicator library, and a tray host on the
//! session bus.

use super::NoDisplay;
use std::env;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// What Xlib calls on a broken connection; the argument is its display.
type Handler = extern "C" fn(*mut c_void) -> c_int;

/// What ends the engine and gives the exit code. Xlib calls back without an argument of
/// ours, and there is one display per process.
static END: OnceLock<Box<dyn Fn() -> i32 + Send + Sync>> = OnceLock::new();

/// Has `end` called when the X server goes away, on the main thread, which is not given
/// back: the process ends with the code that `end` gives. GDK's own handler, in whose
/// place this comes, ends the process at once. Wayland has no such place: GDK ends the
/// process itself.
pub(crate) fn when_display_is_lost(end: impl Fn() -> i32 + Send + Sync + 'static) {
    if END.set(Box::new(end)).is_err() {
        return;
    }
    // SAFETY: GDK has loaded this very library already when it speaks X11; loading it
    // again only counts. The signature is that of Xlib.h, and the handler is a function
    // of this program. The library is never unloaded: it is forgotten.
    #[allow(unsafe_code)]
    let installed = unsafe {
        libloading::Library::new("libX11.so.6").and_then(|library| {
            let install = library
                .get::<unsafe extern "C" fn(Option<Handler>) -> Option<Handler>>(
                    b"XSetIOErrorHandler\0",
                )
                .map(|install| install(Some(display_lost)));
            std::mem::forget(library);
            install
        })
    };
    if let Err(error) = installed {
        tracing::debug!("a display that goes away takes the app along: {error}");
    }
}

extern "C" fn display_lost(_display: *mut c_void) -> c_int {
    static ENTERED: AtomicBool = AtomicBool::new(false);
    if ENTERED.swap(true, Ordering::SeqCst) {
        // Another thread's connection broke as well: the first one ends the process.
        loop {
            std::thread::park();
        }
    }
    tracing::warn!("the display went away");
    let code = END.get().map_or(1, |end| end());
    // Xlib's and GTK's clean-ups would speak to the display that is gone.
    // SAFETY: ends the process; everything that has to survive is written.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}
