//! Owns what is kept of forwards in the database: marks, samples, and when somebody last
//! looked. Blocking.

use super::database::{Database, json};
use super::files::StoreError;
use localport_core::record::{Account, COARSE, FINE, Grain, Mark, Sample, Standing, account};
use localport_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// Marks kept of one forward; one that comes and goes every minute fills it in four hours.
const MARKS: u32 = 500;
/// Marks kept of all forwards together, at about 300 bytes.
const ALL_MARKS: u32 = 50_000;

const ADD_MARK: &str = "INSERT INTO marks (forward, at, mark) VALUES (?1, ?2, ?3)";
/// Samples of one while become one.
const ADD_SAMPLE: &str = "INSERT INTO samples
         (forward, grain, at, measured, rtt_sum, rtt_max, up, down)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
     ON CONFLICT DO UPDATE SET
         measured = measured + excluded.measured,
         rtt_sum = rtt_sum + excluded.rtt_sum,
         rtt_max = MAX(IFNULL(rtt_max, excluded.rtt_max), IFNULL(excluded.rtt_max, rtt_max)),
         up = up + excluded.up,
         down = down + excluded.down";

/// What is to be kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// When somebody looked last.
    pub looked: Timestamp,
    /// Marks by forward, oldest first.
    pub marks: Vec<(String, Mark)>,
    /// Samples of the finest grain by forward.
    pub samples: Vec<(String, Sample)>,
}

impl Batch {
    /// What is kept in memory while the file cannot be written.
    const MOST: usize = 20_000;

    /// Adds `newer`; the oldest goes when there is too much.
    pub fn add(&mut self, newer: Batch) {
        self.looked = self.looked.max(newer.looked);
        self.marks.extend(newer.marks);
        self.samples.extend(newer.samples);
        self.marks.drain(..self.marks.len().saturating_sub(Self::MOST));
        self.samples.drain(..self.samples.len().saturating_sub(Self::MOST));
    }

    /// Whether there is nothing to keep but that somebody looked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.samples.is_empty()
    }
}

impl Database {
    /// Keeps `batch`, and lets go what is too old or too much.
    ///
    /// # Errors
    /// When it cannot be written; nothing is then.
    pub fn record(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let kept = change.and_then(|change| {
            let before = looked(&change)?;
            put(&change, batch)?;
            // What is too old is looked for once per coarse sample.
            if before.map(|at| COARSE.floor(at)) != Some(COARSE.floor(batch.looked)) {
                prune(&change, batch.looked)?;
            }
            change.commit()
        });
        kept.map_err(|error| self.failed(error))
    }

    /// Closes what a host that was killed left open: from when it last looked, nobody did.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn resume(&mut self) -> Result<(), StoreError> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let closed = change.and_then(|change| {
            if let Some(looked) = looked(&change)? {
                for (forward, last) in last_marks(&change)? {
                    if !matches!(last.standing, Standing::Unwatched | Standing::Off) {
                        let at = looked.max(last.at);
                        let mark = Mark { at, standing: Standing::Unwatched, problem: None };
                        let values = params![forward, at.0.cast_signed(), json(&mark)?];
                        change.execute(ADD_MARK, values)?;
                    }
                }
            }
            change.commit()
        });
        closed.map_err(|error| self.failed(error))
    }

    /// What is known of `forward` between `since` and `now`; none when nothing was kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn account(
        &self,
        forward: &str,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let read = || -> rusqlite::Result<Account> {
            let mut told = account(forward, &marks(&self.connection, forward)?, since, now);
            told.fine = samples(&self.connection, forward, FINE, since.max(FINE.horizon(now)))?;
            told.coarse =
                samples(&self.connection, forward, COARSE, since.max(COARSE.horizon(now)))?;
            Ok(told)
        };
        read().map_err(|error| self.failed(error))
    }

    /// When somebody last looked.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn looked(&self) -> Result<Option<Timestamp>, StoreError> {
        looked(&self.connection).map_err(|error| self.failed(error))
    }
}

fn put(change: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut marks = change.prepare(ADD_MARK)?;
    for (forward, mark) in &batch.marks {
        marks.execute(params![forward, mark.at.0.cast_signed(), json(mark)?])?;
    }
    let mut samples = change.prepare(ADD_SAMPLE)?;
    for (forward, sample) in &batch.samples {
        for grain in [FINE, COARSE] {
            let at = grain.floor(sample.at).0.cast_signed();
            samples.execute(params![
                forward,
                seconds(grain),
                at,
                sample.measured,
                sample.rtt_ms.unwrap_or(0.0) * f64::from(sample.measured),
                sample.rtt_max_ms,
                sample.up.cast_signed(),
                sample.down.cast_signed()
            ])?;
        }
    }
    change.execute(
        "INSERT OR REPLACE INTO looked (only, at) VALUES (1, ?1)",
        [batch.looked.0.cast_signed()],
    )?;
    Ok(())
}

fn prune(change: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    for grain in [FINE, COARSE] {
        let horizon = grain.horizon(now).0.cast_signed();
        change.execute(
            "DELETE FROM samples WHERE grain = ?1 AND at < ?2",
            params![seconds(grain), horizon],
        )?;
    }
    change.execute(
        "DELETE FROM marks WHERE id IN (
             SELECT id FROM (
                 SELECT id, ROW_NUMBER() OVER (PARTITION BY forward ORDER BY id DESC) AS place,
                        ROW_NUMBER() OVER (ORDER BY id DESC) AS among
                 FROM marks
             ) WHERE place > ?1 OR among > ?2
         )",
        [MARKS, ALL_MARKS],
    )?;
    Ok(())
}

fn looked(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    if !has_form(connection)? {
        return Ok(None);
    }
    let at: Option<i64> =
        connection.query_row("SELECT at FROM looked", [], |row| row.get(0)).optional()?;
    Ok(at.map(|at| Timestamp(at.cast_unsigned())))
}

/// Whether the file has the tables: one that only an older LocalPort wrote has not.
fn has_form(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(super::schema::version(connection)? >= 2)
}

fn marks(connection: &Connection, forward: &str) -> rusqlite::Result<Vec<Mark>> {
    if !has_form(connection)? {
        return Ok(vec![]);
    }
    let mut question =
        connection.prepare("SELECT mark FROM marks WHERE forward = ?1 ORDER BY id")?;
    let rows = question.query_map([forward], |row| row.get::<_, String>(0))?;
    let mut marks = vec![];
    for row in rows {
        // One that another version wrote in a form of its own is passed over.
        if let Ok(mark) = serde_json::from_str(&row?) {
            marks.push(mark);
        }
    }
    Ok(marks)
}

fn last_marks(connection: &Connection) -> rusqlite::Result<Vec<(String, Mark)>> {
    let mut question = connection.prepare(
        "SELECT forward, mark FROM marks WHERE id IN (SELECT MAX(id) FROM marks GROUP BY forward)",
    )?;
    let rows =
        question.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut marks = vec![];
    for row in rows {
        let (forward, mark) = row?;
        if let Ok(mark) = serde_json::from_str(&mark) {
            marks.push((forward, mark));
        }
    }
    Ok(marks)
}

fn samples(
    connection: &Connection,
    forward: &str,
    grain: Grain,
    since: Timestamp,
) -> rusqlite::Result<Vec<Sample>> {
    if !has_form(connection)? {
        return Ok(vec![]);
    }
    let mut question = connection.prepare(
        "SELECT at, measured, rtt_sum, rtt_max, up, down FROM samples
         WHERE forward = ?1 AND grain = ?2 AND at >= ?3 ORDER BY at",
    )?;
    let values = params![forward, seconds(grain), since.0.cast_signed()];
    let rows = question.query_map(values, |row| {
        let (measured, sum): (u32, f64) = (row.get(1)?, row.get(2)?);
        Ok(Sample {
            at: Timestamp(row.get::<_, i64>(0)?.cast_unsigned()),
            measured,
            rtt_ms: (measured > 0).then(|| sum / f64::from(measured)),
            rtt_max_ms: row.get(3)?,
            up: row.get::<_, i64>(4)?.cast_unsigned(),
            down: row.get::<_, i64>(5)?.cast_unsigned(),
        })
    })?;
    rows.collect()
}

fn seconds(grain: Grain) -> i64 {
    i64::try_from(grain.length.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
