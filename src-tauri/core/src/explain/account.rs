//! Owns the aligned account of one shutdown: every fact of its receipt, one line each.

use super::{counted, duration, heading, why};
use crate::history::Shutdown;
use crate::receipt::{Held, Receipt};
use crate::shutdown::Because;

/// Things named one by one before the rest is only counted.
const NAMED: usize = 10;

/// Everything that the receipt says, in lines.
#[must_use]
pub fn account(shutdown: &Shutdown, when: &str) -> Vec<String> {
    let receipt = &shutdown.receipt;
    let mut lines = vec![heading(shutdown, when), String::new()];
    let mut sheet = Sheet::default();
    sheet.put("why", [format!("LocalPort {}", why(receipt))]);
    let plural = if shutdown.forwards == 1 { "" } else { "s" };
    let version = &receipt.version;
    let forwards = shutdown.forwards;
    let who = format!("version {version}, process {}, {forwards} forward{plural}", receipt.pid);
    sheet.put("who", [who]);
    sheet.put("stages", stages(receipt));
    sheet.put("released", released(receipt));
    sheet.put("slowest", slowest(receipt));
    sheet.put("forced", named(&receipt.forced));
    sheet.put("left", named(&receipt.left));
    sheet.put("system", checks(receipt));
    sheet.put("faults", receipt.faults.iter().cloned());
    sheet.put("remarks", receipt.remarks.iter().cloned());
    lines.extend(sheet.lines());
    lines
}

/// Labels on the left, one or more lines beside each.
#[derive(Default)]
struct Sheet(Vec<(&'static str, String)>);

impl Sheet {
    fn put(&mut self, label: &'static str, lines: impl IntoIterator<Item = String>) {
        for (place, line) in lines.into_iter().enumerate() {
            self.0.push((if place == 0 { label } else { "" }, line));
        }
    }

    fn lines(self) -> impl Iterator<Item = String> {
        let width = self.0.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        self.0.into_iter().map(move |(label, line)| format!("  {label:width$}  {line}"))
    }
}

fn stages(receipt: &Receipt) -> Vec<String> {
    let names = receipt.stages.iter().map(|passed| passed.stage.as_str().len());
    let times: Vec<String> = receipt.stages.iter().map(|passed| duration(passed.took_ms)).collect();
    let name_width = names.max().unwrap_or(0);
    let time_width = times.iter().map(String::len).max().unwrap_or(0);
    receipt
        .stages
        .iter()
        .zip(times)
        .map(|(passed, took)| {
            let name = passed.stage.as_str();
            let line =
                format!("{name:name_width$}  {took:>time_width$}  {}", word(&passed.because));
            line.trim_end().to_owned()
        })
        .collect()
}

/// Nothing is said of a stage that had nothing left: that is what stages do.
fn word(because: &Because) -> String {
    match because {
        Because::Done => String::new(),
        Because::Hurried => "hurried".to_owned(),
        Because::Expired => "ran out of time".to_owned(),
        Because::Failed(why) => format!("failed: {why}"),
    }
}

fn released(receipt: &Receipt) -> Option<String> {
    let parts: Vec<String> = receipt
        .released
        .iter()
        .filter(|released| released.count > 0)
        .map(|released| counted(released.count, released.kind))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn slowest(receipt: &Receipt) -> Vec<String> {
    let times: Vec<String> = receipt.slowest.iter().map(|slow| duration(slow.took_ms)).collect();
    let width = times.iter().map(String::len).max().unwrap_or(0);
    let rows = receipt.slowest.iter().zip(times);
    rows.map(|(slow, took)| format!("{took:>width$}  {}: {}", slow.held.kind.as_str(), slow.held))
        .collect()
}

fn named(held: &[Held]) -> Vec<String> {
    let names = held.iter().take(NAMED).map(|held| format!("{}: {held}", held.kind.as_str()));
    let more = held.len().saturating_sub(NAMED);
    names.chain((more > 0).then(|| format!("and {more} more"))).collect()
}

fn checks(receipt: &Receipt) -> Vec<String> {
    let counts: Vec<String> = receipt
        .checks
        .iter()
        .map(|check| format!("{} {} → {}", check.what, check.start, check.end))
        .collect();
    let mut lines = Vec::new();
    if !counts.is_empty() {
        lines.push(counts.join(", "));
    }
    for check in &receipt.checks {
        let names = check.unexplained.iter().take(NAMED);
        lines.extend(names.map(|name| format!("unexplained in {}: {name}", check.what)));
        let more = check.unexplained.len().saturating_sub(NAMED);
        lines.extend((more > 0).then(|| format!("and {more} more in {}", check.what)));
    }
    lines
}
