//! Owns an account of a forward as people read it.

use super::{Account, COARSE, End, FINE, Grain, Outage, Sample, Standing};
use crate::explain::duration;
use crate::time::Timestamp;

/// Bars of a sparkline, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Bars on a line.
const WIDTH: usize = 48;

/// The lines of `account`; `when` says a time where the reader is.
#[must_use]
pub fn lines(account: &Account, when: impl Fn(Timestamp) -> String) -> Vec<String> {
    let Some(standing) = account.standing else {
        return vec![format!("{}: nothing was kept yet", account.name)];
    };
    let mut lines = vec![heading(account, standing, &when), String::new()];
    if account.outages.is_empty() {
        lines.push("No outage".to_owned());
    }
    for outage in &account.outages {
        lines.push(line(outage, &when));
    }
    for (samples, grain, words) in
        [(&account.fine, FINE, "last 15 min"), (&account.coarse, COARSE, "last 24 h")]
    {
        if !samples.is_empty() {
            lines.push(String::new());
            lines.extend(graphs(samples, grain, account.now, words));
        }
    }
    lines
}

fn heading(account: &Account, standing: Standing, when: impl Fn(Timestamp) -> String) -> String {
    let now = match standing {
        Standing::Up => "up",
        Standing::Down => "down",
        Standing::Connecting => "connecting",
        Standing::Off => "off",
        Standing::Unwatched => "not watched",
    };
    let share = match account.uptime {
        None => "no verdict yet".to_owned(),
        Some(share) => {
            let known = account.up_ms + account.down_ms;
            format!("up {} of {}", percent(share), duration(known))
        }
    };
    format!("{} · {now} · {share} since {}", account.name, when(account.since))
}

/// In hundredths, rounded down, so that an outage is never 100 %.
fn percent(share: f64) -> String {
    let hundredths = (share * 10_000.0).floor() / 100.0;
    if hundredths >= 100.0 { "100 %".to_owned() } else { format!("{hundredths:.2} %") }
}

fn line(outage: &Outage, when: impl Fn(Timestamp) -> String) -> String {
    let length = duration(outage.length_ms);
    let end = match outage.end {
        None => ", lasts",
        Some(End::Recovered) => "",
        Some(End::SwitchedOff) => ", until it was switched off",
        Some(End::Unwatched) => ", until nobody looked",
    };
    let cause = outage.cause.as_ref().map_or("no cause was told", |cause| cause.sentence.as_str());
    format!("  {}  {length:>7}{end}  {cause}", when(outage.began))
}

fn graphs(samples: &[Sample], grain: Grain, now: Timestamp, words: &str) -> Vec<String> {
    let columns = columns(samples, grain, now);
    let rtt: Vec<Option<f64>> = columns.iter().map(|it| it.and_then(|it| it.rtt_ms)).collect();
    let bytes: Vec<Option<f64>> = columns
        .iter()
        .map(|it| it.map(|it| it.up.saturating_add(it.down) as f64).filter(|bytes| *bytes > 0.0))
        .collect();
    let mut lines = vec![];
    let longest = samples.iter().filter_map(|it| it.rtt_max_ms).reduce(f64::max);
    if let Some(longest) = longest {
        lines.push(format!("Round trip, {words}  {}  at most {longest:.1} ms", spark(&rtt)));
    }
    let (up, down) = samples.iter().fold((0_u64, 0_u64), |(up, down), it| {
        (up.saturating_add(it.up), down.saturating_add(it.down))
    });
    if up > 0 || down > 0 {
        let sums = format!("{} up, {} down", size(up), size(down));
        lines.push(format!("Traffic, {words}     {}  {sums}", spark(&bytes)));
    }
    lines
}

/// The samples in as many columns as fit on a line, the last one now.
fn columns(samples: &[Sample], grain: Grain, now: Timestamp) -> Vec<Option<Sample>> {
    let kept = grain.kept.as_millis().max(1);
    let begin = now - grain.kept;
    let mut columns = vec![None; WIDTH];
    for sample in samples.iter().filter(|sample| sample.at <= now) {
        let place = sample.at.since(begin).as_millis() * WIDTH as u128 / kept;
        let place = usize::try_from(place).unwrap_or(WIDTH).min(WIDTH - 1);
        if let Some(column) = columns.get_mut(place) {
            *column = Some(column.map_or(*sample, |sum: Sample| sum.and(*sample)));
        }
    }
    columns
}

/// Bars from nothing to the largest of `values`; a blank where there is none.
fn spark(values: &[Option<f64>]) -> String {
    let top = values.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |value: f64| {
        let place = if top > 0.0 { (value / top * 7.0).round() as usize } else { 0 };
        BARS.get(place).copied().unwrap_or('█')
    };
    values.iter().map(|value| value.map_or(' ', bar)).collect()
}

fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1_024.0 {
            return if unit == "B" {
                format!("{value:.0} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1_024.0;
    }
    format!("{value:.1} TiB")
}
