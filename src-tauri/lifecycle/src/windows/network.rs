//! Owns the word of Windows about addresses: they come and go with every network.

use crate::Notice;
use crate::services::{Say, Unsettled};
use localport_core::lifecycle::LifecycleEvent;
use std::ffi::c_void;
use std::io;
use std::ptr;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::IpHelper::{
    CancelMibChangeNotify2, MIB_NOTIFICATION_TYPE, MIB_UNICASTIPADDRESS_ROW,
    MibParameterNotification, NotifyUnicastIpAddressChange,
};
use windows_sys::Win32::Networking::WinSock::AF_UNSPEC;

/// Changes come in bursts.
const CALM: Duration = Duration::from_millis(500);

/// Says whenever the addresses changed.
pub(crate) async fn watch(say: Say, busy: Unsettled) {
    let changes = match Changes::begin() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::info!("changes of the network are not watched: {error}");
            return;
        }
    };
    drop(busy);
    loop {
        changes.notify.notified().await;
        sleep(CALM).await;
        // What came in the meantime belongs to the same burst.
        let _ = timeout(Duration::ZERO, changes.notify.notified()).await;
        if say.send(Notice::of(LifecycleEvent::NetworkChanged)).await.is_err() {
            return;
        }
    }
}

/// A registration; dropping it ends it.
struct Changes {
    notify: Box<Notify>,
    handle: isize,
}

impl Changes {
    #[allow(unsafe_code)]
    fn begin() -> io::Result<Self> {
        let notify = Box::new(Notify::new());
        let mut handle: HANDLE = ptr::null_mut();
        // SAFETY: the context outlives the registration, which ends in `drop` before it,
        // and does not move: it is boxed. `handle` is writable.
        let result = unsafe {
            let context = ptr::from_ref::<Notify>(&notify).cast::<c_void>();
            NotifyUnicastIpAddressChange(AF_UNSPEC, Some(changed), context, false, &raw mut handle)
        };
        match result {
            0 => Ok(Self { notify, handle: handle as isize }),
            error => Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }
}

impl Drop for Changes {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the handle is the registration's; the call returns after the last
        // callback did, so that nobody holds the context any more.
        unsafe { CancelMibChangeNotify2(self.handle as HANDLE) };
    }
}

/// Called by Windows in a thread of its own.
#[allow(unsafe_code)]
unsafe extern "system" fn changed(
    context: *const c_void,
    _row: *const MIB_UNICASTIPADDRESS_ROW,
    kind: MIB_NOTIFICATION_TYPE,
) {
    // A parameter alone is a lifetime that was renewed.
    if kind != MibParameterNotification {
        // SAFETY: the context is the `Notify` of a registration that has not ended.
        unsafe { &*context.cast::<Notify>() }.notify_one();
    }
}
