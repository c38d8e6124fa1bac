//! Owns the clocks of Linux. The kernel itself tells when the time of day jumps, and a
//! wake from sleep is such a jump: an idle LocalPort never wakes up to look.

use localport_core::lifecycle::gap::Reading;
use rustix::fd::OwnedFd;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// The clocks of this moment.
pub(crate) fn read() -> Reading {
    let time = |clock| {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    Reading {
        awake: time(ClockId::Monotonic),
        since_boot: Some(time(ClockId::Boottime)),
        wall: time(ClockId::Realtime),
    }
}

/// Moments at which the time of day jumped.
pub(crate) struct Jumps {
    timer: AsyncFd<OwnedFd>,
}

impl Jumps {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        arm(&timer)?;
        Ok(Self { timer: super::on_the_runtime(timer)? })
    }

    pub(crate) async fn next(&mut self) {
        let jumped = self.timer.async_io(tokio::io::Interest::READABLE, |timer| {
            match rustix::io::read(timer, &mut [0; 8]) {
                // It was cancelled: the time of day was set, or the machine woke up.
                Err(rustix::io::Errno::CANCELED) | Ok(_) => arm(timer),
                Err(error) => Err(error.into()),
            }
        });
        if let Err(error) = jumped.await {
            tracing::warn!("the clocks are no longer watched for a sleep: {error}");
            pending::<()>().await;
        }
    }
}

/// A timer far away, only to be cancelled when the clock is set.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    // The year 2242: within what every kernel takes.
    let far = Timespec { tv_sec: 1 << 33, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer, flags, &Itimerspec { it_interval: zero, it_value: far })?;
    Ok(())
}
