//! Owns what the toolkit builds in: page, configuration, rights and icons. Nothing else
//! is here, because the toolkit's macro needs an exception of its own.

/// Page, configuration, rights and icons.
// The macro's own code ends the process when what was built in cannot be read.
#[allow(clippy::disallowed_methods)]
pub(crate) fn context() -> tauri::Context {
    tauri::generate_context!()
}
