//! Unix: how the user's clock differs from UTC.

use localport_core::time::Timestamp;

/// What has to be added to UTC at `at`, in seconds; zero where that is not known.
pub(crate) fn utc_offset(at: Timestamp) -> i32 {
    let Ok(seconds) = libc::time_t::try_from(at.0 / 1_000) else { return 0 };
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
    #[allow(unsafe_code)]
    let done = unsafe { libc::localtime_r(&raw const seconds, parts.as_mut_ptr()) };
    if done.is_null() {
        return 0;
    }
    // SAFETY: localtime_r succeeded and filled it in.
    #[allow(unsafe_code)]
    let parts = unsafe { parts.assume_init() };
    i32::try_from(parts.tm_gmtoff).unwrap_or(0)
}
