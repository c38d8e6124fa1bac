//! Where the system does not announce a jump of the clock: a look each second.

use localport_core::lifecycle::gap::Reading;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;

/// A wake has to be known within a second for the first byte to come within two. One
/// look costs a few microseconds.
const PERIOD: Duration = Duration::from_secs(1);

/// The clocks of this moment.
pub(crate) fn read() -> Reading {
    let (awake, since_boot) = running();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { awake, since_boot, wall }
}

/// Moments at which the clocks may have jumped.
pub(crate) struct Jumps;

impl Jumps {
    #[allow(clippy::unnecessary_wraps)] // As where the system has to be asked for them.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        sleep(PERIOD).await;
    }
}

/// Time without and with sleep.
#[cfg(windows)]
#[allow(unsafe_code)]
fn running() -> (Duration, Option<Duration>) {
    use windows_sys::Win32::System::SystemInformation::GetTickCount64;
    use windows_sys::Win32::System::WindowsProgramming::QueryUnbiasedInterruptTime;
    let mut ticks = 0_u64;
    // SAFETY: `ticks` is writable; the other call takes nothing.
    let with_sleep = unsafe {
        QueryUnbiasedInterruptTime(&raw mut ticks);
        GetTickCount64()
    };
    (Duration::from_nanos(ticks.saturating_mul(100)), Some(Duration::from_millis(with_sleep)))
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn running() -> (Duration, Option<Duration>) {
    // On macOS this clock stands still in a sleep and CLOCK_MONOTONIC does not.
    #[cfg(target_os = "macos")]
    const AWAKE: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
    #[cfg(not(target_os = "macos"))]
    const AWAKE: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let time = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is writable and of the right type.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
    };
    let with_sleep = cfg!(target_os = "macos").then(|| time(libc::CLOCK_MONOTONIC));
    (time(AWAKE), with_sleep)
}
