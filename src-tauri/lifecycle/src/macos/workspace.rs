//! Owns the workspace's word of sleep and wake. It comes on the main thread of a program
//! with an event loop: the tray app. A headless host has the clocks.

use crate::Notice;
use crate::done::{Done, Gate};
use crate::services::Say;
use block2::RcBlock;
use localport_core::lifecycle::LifecycleEvent;
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, NSObjectProtocol, ProtocolObject};
use objc2_app_kit::{
    NSWorkspace, NSWorkspaceDidWakeNotification, NSWorkspaceWillSleepNotification,
};
use objc2_foundation::{NSNotification, NSNotificationCenter, NSNotificationName};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

/// macOS waits up to 30 s; whoever closes the lid should not.
const SLEEP: Duration = Duration::from_secs(5);

/// The registrations. Dropping them ends them.
pub(crate) struct Workspace {
    center: Retained<NSNotificationCenter>,
    observers: Vec<Retained<ProtocolObject<dyn NSObjectProtocol>>>,
}

// SAFETY: the notification center may be used from every thread, and the observers are
// only ever handed back to it.
#[allow(unsafe_code)]
unsafe impl Send for Workspace {}

impl Workspace {
    #[allow(unsafe_code)]
    pub(crate) fn watch(say: Say) -> Self {
        let center = NSWorkspace::sharedWorkspace().notificationCenter();
        let woke = say.clone();
        let will_sleep = move || {
            let gate = Arc::new(Gate::default());
            let done = Done::holding(gate.clone());
            let event = LifecycleEvent::WillSleep { within: SLEEP };
            if say.try_send(Notice { event, done }).is_ok() {
                // The engine needs nothing of this thread to go quiet.
                gate.wait(SLEEP);
            }
        };
        let did_wake = move || {
            // A full channel holds older words of the same.
            let _ = woke.try_send(Notice::of(LifecycleEvent::DidWake { slept: None }));
        };
        // SAFETY: constant names of the framework.
        let (sleep, wake) =
            unsafe { (NSWorkspaceWillSleepNotification, NSWorkspaceDidWakeNotification) };
        let observers = vec![observe(&center, sleep, will_sleep), observe(&center, wake, did_wake)];
        Self { center, observers }
    }
}

#[allow(unsafe_code)]
fn observe(
    center: &NSNotificationCenter,
    name: &NSNotificationName,
    then: impl Fn() + 'static,
) -> Retained<ProtocolObject<dyn NSObjectProtocol>> {
    let block = RcBlock::new(move |_: NonNull<NSNotification>| then());
    // SAFETY: the block takes what the center gives, and is called on the thread that
    // posts, which is the main one.
    unsafe { center.addObserverForName_object_queue_usingBlock(Some(name), None, None, &block) }
}

impl Drop for Workspace {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        for observer in self.observers.drain(..) {
            let observer: &AnyObject = (*observer).as_ref();
            // SAFETY: it is the very object that the center gave for this registration.
            unsafe { self.center.removeObserver(observer) };
        }
    }
}
