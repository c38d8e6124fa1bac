//! Owns the database: one open file, its settings, and what is asked of it. Blocking.

use super::files::{StoreError, make_private};
use super::schema::{NEWEST, Obstacle, STEPS, migrate, version};
use localport_core::history::{Shutdown, Totals};
use localport_core::receipt::Receipt;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shutdowns kept; at one or two a day, a year.
pub const KEPT: u32 = 500;
/// Bytes of receipts kept: one that lists a thousand forced connections has 100 KiB.
const KEPT_BYTES: u32 = 8 * 1024 * 1024;
/// Time another process may hold the file; less than an end may spend on it.
const BUSY: Duration = Duration::from_millis(200);

/// The open history.
pub struct Database {
    path: PathBuf,
    pub(super) connection: Connection,
}

/// What is read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Newest first.
    pub shutdowns: Vec<Shutdown>,
    /// Over all, also those that were let go.
    pub totals: Totals,
}

impl Database {
    /// Opens the file for writing, makes it when there is none, and brings an older form
    /// to the newest.
    ///
    /// # Errors
    /// When it cannot be written, is damaged, or a newer LocalPort wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut database = Self::with(path, flags)?;
        database.set_up().map_err(|error| StoreError::database(path, error))?;
        migrate(&mut database.connection, STEPS).map_err(|obstacle| match obstacle {
            Obstacle::Newer(version) => StoreError::newer(path, version),
            Obstacle::Failed(error) => StoreError::database(path, error),
        })?;
        Ok(database)
    }

    /// Opens the file to look at it only, while or without a host that writes it; none
    /// when there is no file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        match std::fs::metadata(path) {
            // A host that starts makes the file empty first.
            Ok(file) if file.len() == 0 => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::file(path, error)),
        }
        let database = Self::look_at(path)?;
        match version(&database.connection).map_err(|error| database.failed(error))? {
            // Begun, but nothing was ever kept in it.
            0 => Ok(None),
            newer if newer > NEWEST => Err(StoreError::newer(path, newer)),
            _ => Ok(Some(database)),
        }
    }

    /// Changes nothing, but may tidy up after a writer that was killed; where it may not
    /// write, it only reads.
    fn look_at(path: &Path) -> Result<Self, StoreError> {
        let tidy = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Self::with(path, tidy).or_else(|_| Self::with(path, only))?;
        let asked = database.connection.pragma_update(None, "query_only", true);
        asked.map_err(|error| database.failed(error))?;
        Ok(database)
    }

    fn with(path: &Path, flags: OpenFlags) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(BUSY).map(|()| connection))
            .map_err(|error| StoreError::database(path, error))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    fn set_up(&self) -> rusqlite::Result<()> {
        // Who reads waits for nobody; where the file system cannot, SQLite stays with
        // its rollback journal, which does as well.
        self.connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // A commit outlives the process without waiting for the disk. The close that
        // follows it at once writes it back with a sync, so it outlives the machine too.
        self.connection.pragma_update(None, "synchronous", "NORMAL")
    }

    /// Looks through the whole file, a few milliseconds for a full one.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn check(&self) -> Result<(), StoreError> {
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| self.failed(error))?;
        if found == "ok" { Ok(()) } else { Err(StoreError::damaged(&self.path, found)) }
    }

    /// Keeps `receipt`, and lets the oldest go when there are too many.
    ///
    /// # Errors
    /// When it cannot be written; nothing is then.
    pub fn keep(&mut self, forwards: u32, receipt: Receipt) -> Result<Shutdown, StoreError> {
        let kept = add(&mut self.connection, forwards, receipt);
        kept.map_err(|error| self.failed(error))
    }

    /// The last `limit` shutdowns, newest first, and the sums over all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn history(&self, limit: u32) -> Result<History, StoreError> {
        let read = || -> rusqlite::Result<History> {
            Ok(History {
                shutdowns: last(&self.connection, limit)?,
                totals: totals(&self.connection)?,
            })
        };
        read().map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::database(&self.path, error)
    }
}

fn add(connection: &mut Connection, forwards: u32, receipt: Receipt) -> rusqlite::Result<Shutdown> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sums = json(&totals(&change)?.with(&receipt))?;
    change.execute(
        "INSERT INTO shutdowns (began, forwards, receipt) VALUES (?1, ?2, ?3)",
        params![receipt.began.0.cast_signed(), forwards, json(&receipt)?],
    )?;
    let id = change.last_insert_rowid().cast_unsigned();
    change.execute("INSERT OR REPLACE INTO totals (only, sums) VALUES (1, ?1)", [sums])?;
    // The newest stays, whatever its size.
    change.execute(
        "DELETE FROM shutdowns WHERE id IN (
             SELECT id FROM (
                 SELECT id, ROW_NUMBER() OVER latest AS place,
                        SUM(LENGTH(receipt)) OVER latest AS size
                 FROM shutdowns WINDOW latest AS (ORDER BY id DESC)
             ) WHERE place > 1 AND (place > ?1 OR size > ?2)
         )",
        params![KEPT, KEPT_BYTES],
    )?;
    change.commit()?;
    Ok(Shutdown { id, forwards, receipt })
}

fn last(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<Shutdown>> {
    let mut question = connection
        .prepare("SELECT id, forwards, receipt FROM shutdowns ORDER BY id DESC LIMIT ?1")?;
    let rows = question.query_map([limit], |row| {
        let id: i64 = row.get(0)?;
        Ok((id.cast_unsigned(), row.get(1)?, row.get::<_, String>(2)?))
    })?;
    let mut shutdowns = Vec::new();
    for row in rows {
        let (id, forwards, receipt) = row?;
        // One that another version wrote in a form of its own is passed over.
        if let Ok(receipt) = serde_json::from_str(&receipt) {
            shutdowns.push(Shutdown { id, forwards, receipt });
        }
    }
    Ok(shutdowns)
}

fn totals(connection: &Connection) -> rusqlite::Result<Totals> {
    let sums: Option<String> =
        connection.query_row("SELECT sums FROM totals", [], |row| row.get(0)).optional()?;
    Ok(sums.and_then(|sums| serde_json::from_str(&sums).ok()).unwrap_or_default())
}

pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
