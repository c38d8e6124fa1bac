//! Owns the record of an end: what went when, and what went wrong.
//!
//! Receives released leases and faults, emits them for the receipt. While no end is
//! under way a release costs it one load.

use super::{Entry, LeaseId, lock, milliseconds};
use crate::engine::HOST;
use localport_core::release::{self, Account, Gone};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Faults kept; what breaks more often says the same again and again.
const FAULTS: usize = 100;

/// Releases taken down with their names; during an end only those who ask over the
/// control API make new ones.
const ENTRIES: usize = 200_000;

#[derive(Default)]
pub(super) struct Book {
    open: AtomicBool,
    entries: Mutex<Option<Entries>>,
    faults: Mutex<Vec<String>>,
    pub(super) turned: Notify,
}

struct Entries {
    began: Instant,
    gone: Vec<Gone>,
}

impl Book {
    pub(super) fn open(&self) {
        let began = Instant::now();
        lock(&self.entries).get_or_insert_with(|| Entries { began, gone: vec![] });
        self.open.store(true, Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.open.store(false, Ordering::Release);
        *lock(&self.entries) = None;
    }

    pub(super) fn enter(&self, id: LeaseId, entry: &Entry) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        if &*entry.owner == HOST {
            // Those who ask how the end goes are no part of it.
            return;
        }
        if let Some(entries) = &mut *lock(&self.entries)
            && entries.gone.len() < ENTRIES
        {
            let took_ms = milliseconds(entries.began.elapsed());
            let held = entry.held();
            let (forced, stands_on) = (entry.forced, entry.stands_on.clone());
            tracing::debug!(took_ms, forced, "released {} {held}", held.kind.as_str());
            entries.gone.push(Gone { id, held, stands_on, took_ms, forced });
        }
        self.turned.notify_waiters();
    }

    pub(super) fn account(&self) -> Account {
        lock(&self.entries).as_ref().map(|e| release::account(&e.gone)).unwrap_or_default()
    }

    pub(super) fn has_forced(&self) -> bool {
        lock(&self.entries).as_ref().is_some_and(|e| e.gone.iter().any(|gone| gone.forced))
    }

    pub(super) fn gone(&self) -> Vec<Gone> {
        lock(&self.entries).as_ref().map(|e| e.gone.clone()).unwrap_or_default()
    }

    pub(super) fn fault(&self, what: String) {
        let mut faults = lock(&self.faults);
        if faults.len() < FAULTS && !faults.contains(&what) {
            faults.push(what);
        }
    }

    pub(super) fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }
}
