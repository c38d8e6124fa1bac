//! Owns how a moment is written: UTC for programs, the user's own time for people.

use localport_core::time::Timestamp;
use std::time::{Duration, SystemTime};

const DAY: u64 = 86_400;

/// Year, month and day, or hour, minute and second.
type Triple = (u64, u64, u64);

/// This moment by the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::default() + since_epoch
}

/// Time of day where the user is, such as `15:04:05`.
#[must_use]
pub fn local_time(at: Timestamp) -> String {
    let seconds = at.0 / 1_000;
    let (hour, minute, second) = local(seconds).map_or_else(|| utc_time(seconds), |(_, time)| time);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// Day and time to the minute where the user is, such as `2025-03-01 15:04`.
#[must_use]
pub fn local_minute(at: Timestamp) -> String {
    let seconds = at.0 / 1_000;
    let (hour, minute, _) = utc_time(seconds);
    let ((year, month, day), hour, minute) = local(seconds)
        .map_or((civil(seconds / DAY), hour, minute), |(date, (hour, minute, _))| {
            (date, hour, minute)
        });
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// The moment in RFC 3339, UTC, such as `2025-03-01T10:20:30.123Z`.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let seconds = at.0 / 1_000;
    let (year, month, day) = civil(seconds / DAY);
    let (hour, minute, second) = utc_time(seconds);
    let millis = at.0 % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads RFC 3339 in UTC; none when it is anything else.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut whole = whole.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (whole.next()??, whole.next()??, whole.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let millis: u64 = format!("{:0<3.3}", fraction).parse().ok()?;
    let seconds = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000 + millis))
}

fn utc_time(seconds: u64) -> (u64, u64, u64) {
    let of_day = seconds % DAY;
    (of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian, by 400-year eras
/// that begin on 1 March, so that the leap day is the last of its year).
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Date and time of day where the user is; none where that is not known.
#[cfg(unix)]
#[allow(unsafe_code)]
fn local(seconds: u64) -> Option<(Triple, Triple)> {
    let seconds = libc::time_t::try_from(seconds).ok()?;
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither.
    if unsafe { libc::localtime_r(&raw const seconds, parts.as_mut_ptr()) }.is_null() {
        return None;
    }
    // SAFETY: localtime_r succeeded and filled it in.
    let parts = unsafe { parts.assume_init() };
    let part = |value: libc::c_int| u64::try_from(value).ok();
    // The structure counts years from 1900 and months from zero.
    let date = (part(parts.tm_year)? + 1900, part(parts.tm_mon)? + 1, part(parts.tm_mday)?);
    Some((date, (part(parts.tm_hour)?, part(parts.tm_min)?, part(parts.tm_sec)?)))
}

#[cfg(not(unix))]
fn local(_seconds: u64) -> Option<(Triple, Triple)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_same_moment() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_740_824_430_123, "2025-03-01T10:20:30.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(millis)), text);
            assert_eq!(parse(text), Some(Timestamp(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "Z", "2025-03-01", "2025-03-01T10:20Z", "2025-13-01T00:00:00Z", "T:Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_counts() {
        for day in 0..146_097 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }
}
