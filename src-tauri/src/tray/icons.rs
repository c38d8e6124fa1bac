//! Owns the pictures of the tray, by overall standing and by what the platform wants.

use localport_core::snapshot::Overall;
use tauri::image::Image;

macro_rules! icon {
    ($state:literal, $theme:literal) => {
        include_bytes!(concat!("../../../icons/tray/", $state, "-", $theme, ".png"))
    };
}

macro_rules! icons {
    ($overall:expr, $theme:literal) => {
        match $overall {
            Overall::Idle => &icon!("idle", $theme)[..],
            Overall::Ok => &icon!("ok", $theme)[..],
            Overall::Busy => &icon!("busy", $theme)[..],
            Overall::Degraded => &icon!("degraded", $theme)[..],
            Overall::Failed => &icon!("failed", $theme)[..],
        }
    };
}

/// Whether the pictures are black with alpha, for the system to colour.
pub(crate) const TEMPLATE: bool = cfg!(target_os = "macos");

/// The picture for `overall`; `dark` says that it stands on a dark bar, where the
/// platform tells.
///
/// # Errors
/// When the picture cannot be decoded.
pub(crate) fn icon(overall: Overall, dark: bool) -> tauri::Result<Image<'static>> {
    Image::from_bytes(bytes(overall, dark))
}

#[cfg(target_os = "macos")]
fn bytes(overall: Overall, _dark: bool) -> &'static [u8] {
    icons!(overall, "template")
}

#[cfg(windows)]
fn bytes(overall: Overall, dark: bool) -> &'static [u8] {
    if dark { icons!(overall, "dark") } else { icons!(overall, "light") }
}

#[cfg(not(any(target_os = "macos", windows)))]
fn bytes(overall: Overall, _dark: bool) -> &'static [u8] {
    icons!(overall, "linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_pictures_differ() {
        let all = [Overall::Idle, Overall::Ok, Overall::Busy, Overall::Degraded, Overall::Failed];
        // Alpha alone tells them apart: colour is never the only sign.
        let shape = |overall| -> Vec<u8> {
            icon(overall, true).unwrap().rgba().chunks(4).map(|pixel| pixel[3]).collect()
        };
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(shape(*one), shape(*other), "{one:?} and {other:?}");
            }
        }
    }
}
