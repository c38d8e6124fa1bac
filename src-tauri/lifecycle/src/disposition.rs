//! Owns who handles a signal of this process, and gives it back.
//!
//! tokio installs its handler once in a process's life and leaves it there. So the
//! handler that was there before is kept while a watch lives and put back after the
//! last one; tokio's is put back in place for the next watch.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the process does on a signal.
#[derive(Clone, Copy)]
pub(crate) struct Disposition(libc::sigaction);

impl Disposition {
    /// What the process does on `signal` now.
    #[allow(unsafe_code)]
    pub(crate) fn of(signal: i32) -> io::Result<Self> {
        let mut current = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a null new action only reads; `current` is writable and of the right type.
        if unsafe { libc::sigaction(signal, ptr::null(), current.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: sigaction(2) succeeded and filled it in; zeroed bytes are valid besides.
        Ok(Self(unsafe { current.assume_init() }))
    }

    pub(crate) fn is_ignored(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_IGN
    }

    fn same_handler(&self, other: &Self) -> bool {
        self.0.sa_sigaction == other.0.sa_sigaction
    }

    #[allow(unsafe_code)]
    fn put(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the action was read from this very process by sigaction(2), so its
        // handler is code of this process; handlers stay mapped for the process's life.
        if unsafe { libc::sigaction(signal, &raw const self.0, ptr::null_mut()) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// One signal of the process, as long as any watch needs it.
struct Share {
    watches: usize,
    theirs: Disposition,
    ours: Disposition,
}

/// A disposition belongs to the process, so its account does too.
static SHARES: Mutex<BTreeMap<i32, Share>> = Mutex::new(BTreeMap::new());

/// A signal borrowed from whoever handled it before; dropping gives it back.
pub(crate) struct Borrowed {
    signal: i32,
}

impl Borrowed {
    /// Takes over `signal`, which did `before` until a tokio stream for it was made.
    pub(crate) fn take(signal: i32, before: Disposition) -> io::Result<Self> {
        let mut shares = shares();
        let now = Disposition::of(signal)?;
        let share = shares.entry(signal).or_insert(Share { watches: 0, theirs: before, ours: now });
        if share.watches == 0 {
            share.theirs = before;
            // tokio did not install its handler again: it believes it is still there.
            if now.same_handler(&before) {
                share.ours.put(signal)?;
            }
        }
        share.watches += 1;
        Ok(Self { signal })
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut shares = shares();
        let Some(share) = shares.get_mut(&self.signal) else { return };
        share.watches -= 1;
        if share.watches == 0 {
            // It can only fail for a number that is no signal, and this one was read before.
            let _ = share.theirs.put(self.signal);
        }
    }
}

fn shares() -> MutexGuard<'static, BTreeMap<i32, Share>> {
    SHARES.lock().unwrap_or_else(PoisonError::into_inner)
}
