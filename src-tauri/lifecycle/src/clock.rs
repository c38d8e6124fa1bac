//! Owns the sleep that nobody told of: no logind, a virtual machine that was halted, a
//! standby that Windows keeps to itself. The clocks tell.

#[cfg(target_os = "linux")]
use crate::linux::clock as platform;
#[cfg(not(target_os = "linux"))]
#[path = "clock/ticker.rs"]
mod platform;

use crate::Notice;
use crate::services::{Say, Unsettled};
use localport_core::lifecycle::LifecycleEvent;
pub(crate) use platform::read;

/// Says when the clocks show that the machine slept.
pub(crate) async fn watch(say: Say, busy: Unsettled) {
    let mut jumps = match platform::Jumps::new() {
        Ok(jumps) => jumps,
        Err(error) => {
            tracing::warn!("the clocks are not watched for a sleep: {error}");
            return;
        }
    };
    drop(busy);
    let mut before = read();
    loop {
        jumps.next().await;
        let now = read();
        if let Some(slept) = now.slept_since(&before) {
            let woke = LifecycleEvent::DidWake { slept: Some(slept) };
            if say.send(Notice::of(woke)).await.is_err() {
                return;
            }
        }
        before = now;
    }
}
