//! Owns what Windows can say and do about processes: a job object ends the children
//! together with the engine, however that ends.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use tokio::process::{Child, Command};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};

/// A job that holds the child and whatever it starts; closing the handle ends them all.
pub(super) struct Group {
    job: OwnedHandle,
}

impl Group {
    pub(super) fn of(child: &Child) -> io::Result<Self> {
        // SAFETY: both arguments may be null; the handle is owned at once.
        #[allow(unsafe_code)]
        let job = unsafe {
            let raw = CreateJobObjectW(ptr::null(), ptr::null());
            if raw.is_null() {
                return Err(io::Error::last_os_error());
            }
            OwnedHandle::from_raw_handle(raw)
        };
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        let process = child
            .raw_handle()
            .ok_or_else(|| io::Error::other("the child ended before it was known"))?;
        let size = u32::try_from(size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>())
            .map_err(io::Error::other)?;
        // SAFETY: the job and the process are open for the length of the calls, and the
        // structure is of the class that is named.
        #[allow(unsafe_code)]
        let done = unsafe {
            SetInformationJobObject(
                job.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                ptr::from_ref(&limits).cast(),
                size,
            ) != 0
                && AssignProcessToJobObject(job.as_raw_handle(), process) != 0
        };
        if done { Ok(Self { job }) } else { Err(io::Error::last_os_error()) }
    }

    /// A process without a window or a console of its own cannot be asked.
    pub(super) fn ask(&self) {
        self.force();
    }

    /// Ends the child and whatever it started.
    pub(super) fn force(&self) {
        // SAFETY: the job is open as long as `self`.
        #[allow(unsafe_code)]
        let _ = unsafe { TerminateJobObject(self.job.as_raw_handle(), 1) };
    }
}

/// No console window flashes up; Ctrl-C of the engine's console does not reach it.
pub(super) fn prepare(command: &mut Command) {
    command.creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP);
}

/// Not needed: the job object leaves no strays.
pub(super) fn start_time(_pid: u32) -> Option<String> {
    None
}

/// A stray; there are none here.
pub(super) struct Held {
    pub(super) pid: u32,
}

/// None: the job object ended them with the engine.
pub(super) fn carrying(_tokens: &[&str], _known: &[u32]) -> Vec<Held> {
    Vec::new()
}

impl Held {
    pub(super) fn ask(&self) {}

    pub(super) fn force(&self) {}

    pub(super) async fn gone(&self) {}
}
