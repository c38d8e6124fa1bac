//! Owns when a person wants to be told: the settings, and what a time of day is.

use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Trouble that is over sooner says nothing, unless the configuration says otherwise:
/// longer than a pod's replacement takes a warm session, shorter than a person needs to
/// wonder.
pub const DEFAULT_DEBOUNCE: Duration = Duration::from_secs(5);

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

/// When a person is told of trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether at all.
    pub enabled: bool,
    /// How long trouble, and its end, must last to be told.
    pub debounce: Duration,
    /// A part of the day in which nothing is told.
    pub quiet: Option<Quiet>,
    /// Kubernetes contexts and SSH hosts of which nothing is told.
    pub muted: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, debounce: DEFAULT_DEBOUNCE, quiet: None, muted: BTreeSet::new() }
    }
}

/// A part of each day, by the user's own clock; it may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Its first minute, counted from midnight.
    from: u16,
    /// The first minute after it.
    to: u16,
}

impl Quiet {
    /// Reads `22:00-07:00`; none for anything else, and for a part that is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(['-', '–'])?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from != to).then_some(Self { from, to })
    }

    /// When the part that `now` lies in ends; none when `now` lies in none.
    #[must_use]
    pub fn until(&self, now: Now) -> Option<Timestamp> {
        let of_day = now.of_day();
        let (from, to) = (u64::from(self.from) * MINUTE, u64::from(self.to) * MINUTE);
        let inside =
            if from < to { (from..to).contains(&of_day) } else { of_day >= from || of_day < to };
        inside.then(|| Timestamp(now.at.0 + (to + DAY - of_day) % DAY))
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [from, to] = [self.from, self.to].map(|m| format!("{:02}:{:02}", m / 60, m % 60));
        write!(f, "{from}-{to}")
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || minute.len() != 2 || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// This moment, and how the user's own clock differs from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// This moment.
    pub at: Timestamp,
    /// What has to be added to UTC, in seconds.
    pub offset: i32,
}

impl Now {
    /// Milliseconds since the user's midnight.
    fn of_day(self) -> u64 {
        let offset = i64::from(self.offset) * 1_000;
        let local = self.at.0.saturating_add_signed(offset);
        local % DAY
    }

    /// The time of day, such as `14:02`.
    #[must_use]
    pub fn clock(self) -> String {
        let minutes = self.of_day() / MINUTE;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64, offset: i32) -> Now {
        Now { at: Timestamp(20_000 * DAY + (hour * 60 + minute) * MINUTE), offset }
    }

    #[test]
    fn quiet_hours_are_read_or_refused() {
        for (text, shown) in [("22:00-07:00", "22:00-07:00"), (" 9:30 – 12:05 ", "09:30-12:05")] {
            assert_eq!(Quiet::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "22:00", "22-07", "24:00-07:00", "22:60-07:00", "22:0-07:00", "7:00-7:00"]
        {
            assert_eq!(Quiet::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn quiet_hours_go_over_midnight_by_the_users_clock() {
        let night = Quiet::parse("22:00-07:00").unwrap();
        let noon = Quiet::parse("12:00-13:00").unwrap();
        let hours = |now: Now, quiet: Quiet| Some(quiet.until(now)?.since(now.at).as_secs() / 60);
        let table = [
            (night, at(21, 59, 0), None),
            (night, at(22, 0, 0), Some(9 * 60)),
            (night, at(6, 59, 0), Some(1)),
            (night, at(7, 0, 0), None),
            (noon, at(12, 30, 0), Some(30)),
            (noon, at(22, 30, 0), None),
            // Two hours east of Greenwich it is 22:30 there.
            (night, at(20, 30, 7_200), Some(8 * 60 + 30)),
            (night, at(22, 30, -7_200), None),
        ];
        for (quiet, now, left) in table {
            assert_eq!(hours(now, quiet), left, "{quiet} at {}", now.clock());
        }
    }
}
