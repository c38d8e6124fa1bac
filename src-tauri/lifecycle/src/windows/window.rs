//! Owns the one window of this process that Windows tells of the session's end, of sleep
//! and of a polite request to close. It is never shown.
//!
//! It is a top-level window, because one that is made for messages only gets no
//! broadcasts, and it has a thread of its own, because Windows waits in that thread until
//! LocalPort is done.

use crate::Notice;
use crate::done::{Done, Gate};
use crate::services::Say;
use localport_core::lifecycle::{LifecycleEvent, QuitSource, SessionEnd};
use std::cell::RefCell;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::Power::{
    RegisterSuspendResumeNotification, UnregisterSuspendResumeNotification,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DEVICE_NOTIFY_WINDOW_HANDLE, DefWindowProcW, DestroyWindow, DispatchMessageW,
    ENDSESSION_LOGOFF, GWLP_WNDPROC, GetMessageW, MSG, PBT_APMRESUMEAUTOMATIC, PBT_APMSUSPEND,
    PostMessageW, PostQuitMessage, SetWindowLongPtrW, WM_APP, WM_CLOSE, WM_ENDSESSION,
    WM_POWERBROADCAST, WM_QUERYENDSESSION,
};
use windows_sys::w;

/// Windows ends a process 5 s after it said that the session ends.
const SESSION: Duration = Duration::from_secs(4);
/// Windows sleeps about 2 s after it said so.
const SLEEP: Duration = Duration::from_millis(1_500);
/// Ends the window's thread.
const WM_END: u32 = WM_APP + 1;

/// The window and its thread. Dropping it ends both.
pub(crate) struct Window {
    handle: isize,
    thread: Option<JoinHandle<()>>,
}

impl Window {
    /// Makes the window.
    ///
    /// # Errors
    /// When Windows gives none.
    pub(crate) fn open(say: Say) -> io::Result<Self> {
        let (tell, told) = sync_channel(1);
        let thread = Builder::new().name("lp-window".to_owned()).spawn(move || live(say, &tell))?;
        let handle = told.recv().map_err(io::Error::other)??;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Window {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: a handle that is no longer valid is refused; nothing is pointed to.
        unsafe { PostMessageW(self.handle as HWND, WM_END, 0, 0) };
        if let Some(thread) = self.thread.take() {
            // It panicked at worst, and is gone then.
            let _ = thread.join();
        }
    }
}

thread_local! {
    /// Where this thread's window says what it hears.
    static SAY: RefCell<Option<Say>> = const { RefCell::new(None) };
}

#[allow(unsafe_code)]
fn live(say: Say, tell: &SyncSender<io::Result<isize>>) {
    SAY.with(|place| *place.borrow_mut() = Some(say));
    // SAFETY: a window of a class that every process has, with constant wide strings; its
    // procedure is a function of this program with the signature that Windows calls.
    let window = unsafe {
        let window = CreateWindowExW(
            0,
            w!("STATIC"),
            w!("LocalPort"),
            0,
            0,
            0,
            0,
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null(),
        );
        if !window.is_null() {
            SetWindowLongPtrW(window, GWLP_WNDPROC, heard as *const () as isize);
        }
        window
    };
    if window.is_null() {
        let _ = tell.send(Err(io::Error::last_os_error()));
        return;
    }
    // Modern standby announces a sleep only to those who asked.
    // SAFETY: the window is this thread's and lives until after the registration ends.
    let power = unsafe { RegisterSuspendResumeNotification(window, DEVICE_NOTIFY_WINDOW_HANDLE) };
    // Whoever opened it waits for this word.
    let _ = tell.send(Ok(window as isize));
    let mut message = MSG::default();
    // SAFETY: `message` is writable; window and registration are this thread's own.
    unsafe {
        while GetMessageW(&raw mut message, ptr::null_mut(), 0, 0) > 0 {
            DispatchMessageW(&raw const message);
        }
        if power != 0 {
            UnregisterSuspendResumeNotification(power);
        }
        DestroyWindow(window);
    }
}

/// What Windows calls with each message, in the window's thread.
#[allow(unsafe_code)]
unsafe extern "system" fn heard(
    window: HWND,
    message: u32,
    first: WPARAM,
    second: LPARAM,
) -> LRESULT {
    match message {
        // Nothing of LocalPort speaks against it; the work begins when it is certain.
        WM_QUERYENDSESSION => 1,
        WM_ENDSESSION if first != 0 => {
            let logout = second as u32 & ENDSESSION_LOGOFF != 0;
            let end = if logout { SessionEnd::Logout } else { SessionEnd::Shutdown };
            hold(LifecycleEvent::SessionEnding { end, within: SESSION }, SESSION);
            0
        }
        WM_ENDSESSION => {
            say(Notice::of(LifecycleEvent::SessionEndCancelled));
            0
        }
        WM_POWERBROADCAST => {
            match u32::try_from(first) {
                Ok(PBT_APMSUSPEND) => {
                    hold(LifecycleEvent::WillSleep { within: SLEEP }, SLEEP);
                }
                Ok(PBT_APMRESUMEAUTOMATIC) => {
                    say(Notice::of(LifecycleEvent::DidWake { slept: None }));
                }
                _ => {}
            }
            1
        }
        WM_CLOSE => {
            let source = QuitSource::Terminate;
            say(Notice::of(LifecycleEvent::QuitRequested { source }));
            0
        }
        WM_END => {
            // SAFETY: ends the loop of this very thread.
            unsafe { PostQuitMessage(0) };
            0
        }
        // SAFETY: what Windows gave is given back to it as it came.
        _ => unsafe { DefWindowProcW(window, message, first, second) },
    }
}

/// Says it and blocks this thread, which Windows waits for, until LocalPort is done.
fn hold(event: LifecycleEvent, within: Duration) {
    let gate = Arc::new(Gate::default());
    if say(Notice { event, done: Done::holding(gate.clone()) }) {
        gate.wait(within);
    }
}

/// Whether anybody listens.
fn say(notice: Notice) -> bool {
    SAY.with(|place| place.borrow().as_ref().is_some_and(|say| say.try_send(notice).is_ok()))
}
