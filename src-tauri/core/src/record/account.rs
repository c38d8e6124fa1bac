//! Owns outages: from when to when, for what, and what share of the time was none.

use super::{Mark, Sample, Standing};
use crate::problem::Problem;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How an outage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The forward served again.
    Recovered,
    /// It was switched off.
    SwitchedOff,
    /// Nobody looked any more.
    Unwatched,
}

/// A time in which a forward did not serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Outage {
    /// When it began.
    pub began: Timestamp,
    /// When it ended; none while it lasts.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub end: Option<End>,
    /// How long it was, or is by now, in milliseconds.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub length_ms: u64,
    /// What was wrong at first.
    pub cause: Option<Problem>,
}

/// What is known of one forward since some moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Account {
    /// The forward's name.
    pub name: String,
    /// What is before this moment is not told.
    pub since: Timestamp,
    /// This moment.
    pub now: Timestamp,
    /// How it stands; none when nothing was kept.
    pub standing: Option<Standing>,
    /// Milliseconds in which it served.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub up_ms: u64,
    /// Milliseconds of outage.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub down_ms: u64,
    /// The share of the time with a verdict in which it served; none without such a time.
    pub uptime: Option<f64>,
    /// Newest first.
    pub outages: Vec<Outage>,
    /// Samples of the last quarter of an hour, oldest first.
    pub fine: Vec<Sample>,
    /// Samples of the last day, oldest first.
    pub coarse: Vec<Sample>,
}

/// What `marks`, oldest first, amount to between `since` and `now`. Times of connecting
/// belong to the outage they follow; those that follow no outage count as neither.
#[must_use]
pub fn account(name: &str, marks: &[Mark], since: Timestamp, now: Timestamp) -> Account {
    // The record begins with its first mark.
    let since = since.max(marks.first().map_or(since, |first| first.at));
    let mut account = Account {
        name: name.to_owned(),
        since,
        now,
        standing: marks.last().map(|mark| mark.standing),
        up_ms: 0,
        down_ms: 0,
        uptime: None,
        outages: vec![],
        fine: vec![],
        coarse: vec![],
    };
    let mut open: Option<Outage> = None;
    for (place, mark) in marks.iter().enumerate() {
        let until = marks.get(place + 1).map_or(now, |next| next.at).max(mark.at);
        match mark.standing {
            Standing::Up | Standing::Off | Standing::Unwatched => {
                if let Some(outage) = open.take() {
                    account.close(outage, mark.at, end(mark.standing));
                }
            }
            Standing::Down => match &mut open {
                Some(outage) if outage.cause.is_none() => outage.cause.clone_from(&mark.problem),
                Some(_) => {}
                None => {
                    open = Some(Outage {
                        began: mark.at,
                        ended: None,
                        end: None,
                        length_ms: 0,
                        cause: mark.problem.clone(),
                    });
                }
            },
            Standing::Connecting => {}
        }
        let within = ms(mark.at.max(since), until);
        if open.is_some() {
            account.down_ms += within;
        } else if mark.standing == Standing::Up {
            account.up_ms += within;
        }
    }
    if let Some(mut outage) = open {
        outage.length_ms = ms(outage.began, now);
        account.outages.push(outage);
    }
    account.outages.retain(|outage| outage.ended.is_none_or(|ended| ended >= since));
    account.outages.reverse();
    let known = account.up_ms + account.down_ms;
    account.uptime = (known > 0).then(|| account.up_ms as f64 / known as f64);
    account
}

impl Account {
    fn close(&mut self, mut outage: Outage, at: Timestamp, end: End) {
        outage.length_ms = ms(outage.began, at);
        (outage.ended, outage.end) = (Some(at), Some(end));
        self.outages.push(outage);
    }
}

fn end(standing: Standing) -> End {
    match standing {
        Standing::Off => End::SwitchedOff,
        Standing::Unwatched => End::Unwatched,
        Standing::Up | Standing::Down | Standing::Connecting => End::Recovered,
    }
}

fn ms(from: Timestamp, until: Timestamp) -> u64 {
    until.0.saturating_sub(from.0)
}
