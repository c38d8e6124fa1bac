//! Owns what has to be known about the desktop before anything is drawn: is there a
//! display, can a tray be put up, does anybody show it. One thin file per platform.

#[cfg(target_os = "linux")]
#[path = "desktop/linux.rs"]
mod platform;
#[cfg(windows)]
#[path = "desktop/windows.rs"]
mod platform;
#[cfg(not(any(target_os = "linux", windows)))]
#[path = "desktop/other.rs"]
mod platform;

#[cfg(unix)]
mod local_time;

#[cfg(windows)]
pub(crate) use platform::dark_bar;
pub(crate) use platform::{display, tray_host, tray_library, when_display_is_lost};

#[cfg(unix)]
pub(crate) use local_time::utc_offset;
#[cfg(windows)]
pub(crate) use platform::utc_offset;

/// Why nothing can be drawn.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
pub(crate) enum NoDisplay {
    /// Neither display system is announced.
    #[error("there is no display here: neither `DISPLAY` nor `WAYLAND_DISPLAY` is set")]
    Unset,
    /// It is announced, but does not answer.
    #[error("the display `{0}` does not answer")]
    Silent(String),
}
