//! Owns the form of the database, and the way from each older form to the newest.

use rusqlite::{Connection, TransactionBehavior};

/// What each form adds to the one before; a file's `user_version` says how many of them
/// it has. A step that was released never changes: the next one is appended.
pub(super) const STEPS: &[&str] = &[
    // 1: the receipts, as JSON because they are read whole, and sums over all that ever were.
    "CREATE TABLE shutdowns (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         began INTEGER NOT NULL,
         forwards INTEGER NOT NULL,
         receipt TEXT NOT NULL
     ) STRICT;
     CREATE TABLE totals (
         only INTEGER PRIMARY KEY CHECK (only = 1),
         sums TEXT NOT NULL
     ) STRICT;",
    // 2: how each forward stood and when that changed; samples of its round trip and its
    // traffic, by grain in seconds; and when somebody last looked.
    "CREATE TABLE marks (
         id INTEGER PRIMARY KEY AUTOINCREMENT,
         forward TEXT NOT NULL,
         at INTEGER NOT NULL,
         mark TEXT NOT NULL
     ) STRICT;
     CREATE INDEX marks_of_forward ON marks (forward, id);
     CREATE TABLE samples (
         forward TEXT NOT NULL,
         grain INTEGER NOT NULL,
         at INTEGER NOT NULL,
         measured INTEGER NOT NULL,
         rtt_sum REAL NOT NULL,
         rtt_max REAL,
         up INTEGER NOT NULL,
         down INTEGER NOT NULL,
         PRIMARY KEY (forward, grain, at)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE looked (
         only INTEGER PRIMARY KEY CHECK (only = 1),
         at INTEGER NOT NULL
     ) STRICT;",
];

/// The newest form.
pub(super) const NEWEST: u32 = STEPS.len() as u32;

/// Why a database cannot be brought to the newest form.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// It has more steps than are known here.
    Newer(u32),
    /// SQLite says no.
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Obstacle {
    fn from(error: rusqlite::Error) -> Self {
        Obstacle::Failed(error)
    }
}

/// Brings `connection` to the newest form; a crash on the way leaves an older whole one.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), Obstacle> {
    let newest = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    if version(connection)? == newest {
        return Ok(());
    }
    // Asked again inside: another process may have been faster.
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let has = version(&change)?;
    if has > newest {
        return Err(Obstacle::Newer(has));
    }
    for step in steps.iter().skip(usize::try_from(has).unwrap_or(usize::MAX)) {
        change.execute_batch(step)?;
    }
    change.pragma_update(None, "user_version", newest)?;
    Ok(change.commit()?)
}

/// How many steps `connection` has.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
