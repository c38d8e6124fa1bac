//! Windows: display and tray are always there; the taskbar is light or dark.

use super::NoDisplay;
use localport_core::time::Timestamp;
use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::System::Registry::{HKEY_CURRENT_USER, RRF_RT_REG_DWORD, RegGetValueW};
use windows_sys::Win32::System::Time::{GetTimeZoneInformation, TIME_ZONE_INFORMATION};
use windows_sys::w;

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

/// Whether the taskbar is dark, as the person chose; dark where nothing is said.
pub(crate) fn dark_bar() -> bool {
    let mut light: u32 = 0;
    let mut size: u32 = 4;
    // SAFETY: key and name are constant wide strings, and `light` has the `size` bytes
    // that a DWORD needs.
    #[allow(unsafe_code)]
    let result = unsafe {
        RegGetValueW(
            HKEY_CURRENT_USER,
            w!("Software\\Microsoft\\Windows\\CurrentVersion\\Themes\\Personalize"),
            w!("SystemUsesLightTheme"),
            RRF_RT_REG_DWORD,
            std::ptr::null_mut(),
            (&raw mut light).cast(),
            &mut size,
        )
    };
    result != ERROR_SUCCESS || light == 0
}

/// What has to be added to UTC now, in seconds; zero where that is not known.
pub(crate) fn utc_offset(_now: Timestamp) -> i32 {
    // What the function says of the season.
    const STANDARD: u32 = 1;
    const DAYLIGHT: u32 = 2;
    let mut zone = TIME_ZONE_INFORMATION::default();
    // SAFETY: the pointer is valid for the call, which fills the structure in.
    #[allow(unsafe_code)]
    let season = unsafe { GetTimeZoneInformation(&raw mut zone) };
    // In minutes, and the other way round: UTC is the local time plus the bias.
    let bias = match season {
        STANDARD => zone.Bias + zone.StandardBias,
        DAYLIGHT => zone.Bias + zone.DaylightBias,
        u32::MAX => 0,
        _ => zone.Bias,
    };
    -bias * 60
}

/// A display does not go away on Windows without the session's end.
pub(crate) fn when_display_is_lost(_end: impl Fn() -> i32 + Send + Sync + 'static) {}
