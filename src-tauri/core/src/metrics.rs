//! Owns the figures that monitoring reads: one page in Prometheus' text format 0.0.4.
//!
//! Receives the snapshot, what is held and the history of shutdowns; emits the page.

use crate::history::{Shutdown, Totals};
use crate::regression::percentile;
use crate::resource::LeaseKind;
use crate::shutdown::Stage;
use crate::snapshot::{Forward, Snapshot, Standing, WORDS};
use crate::time::Timestamp;
use std::fmt::Write as _;

/// Media type of the page.
pub const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the page is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is.
    pub snapshot: &'a Snapshot,
    /// When it is.
    pub now: Timestamp,
    /// Everything held, by kind; a kind may come again and again.
    pub leases: &'a [LeaseKind],
    /// The last shutdowns, newest first, and the sums over all; none when the history
    /// cannot be read.
    pub history: Option<(&'a [Shutdown], Totals)>,
}

/// The whole page.
#[must_use]
pub fn page(facts: &Facts<'_>) -> String {
    let mut page = Page::default();
    program(&mut page, facts);
    forwards(&mut page, facts);
    let kinds = LeaseKind::ALL.iter().map(|kind| {
        let count = facts.leases.iter().filter(|held| *held == kind).count();
        (vec![("kind", kind.as_str())], count as f64)
    });
    page.family("localport_leases", GAUGE, "What the engine holds now, by kind.", kinds);
    let readable = f64::from(u8::from(facts.history.is_some()));
    let help = "Whether the history of shutdowns can be read.";
    page.family("localport_history_readable", GAUGE, help, [(vec![], readable)]);
    if let Some((shutdowns, totals)) = facts.history {
        sums(&mut page, totals);
        last(&mut page, shutdowns);
        times(&mut page, shutdowns);
    }
    page.0
}

fn program(page: &mut Page, Facts { snapshot, .. }: &Facts<'_>) {
    let version = vec![("version", snapshot.version.as_str())];
    page.family("localport_build_info", GAUGE, "The version that runs.", [(version, 1.0)]);
    let help = "When the engine started, in seconds since 1970.";
    let started = seconds(snapshot.started.0);
    page.family("localport_start_time_seconds", GAUGE, help, [(vec![], started)]);
    let stages = Stage::ALL.into_iter().map(|stage| {
        let is = snapshot.ending.as_ref().is_some_and(|ending| ending.stage == stage);
        (vec![("stage", stage.as_str())], f64::from(u8::from(is)))
    });
    page.family("localport_ending", GAUGE, "1 for the stage of the end under way.", stages);
}

fn forwards(page: &mut Page, Facts { snapshot, now, .. }: &Facts<'_>) {
    let all = &snapshot.forwards;
    let states = WORDS.iter().map(|word| {
        let count = all.iter().filter(|forward| forward.word(*now) == *word).count();
        (vec![("state", *word)], count as f64)
    });
    page.family("localport_forwards", GAUGE, "Forwards, by the word for how they stand.", states);
    let mut each = |name, kind, help, value: &dyn Fn(&Forward) -> f64| {
        let samples = all.iter().map(|forward| (of(forward), value(forward)));
        page.family(name, kind, help, samples);
    };
    let help = "Whether port, tunnel and target are all proved.";
    each("localport_forward_serving", GAUGE, help, &|forward| {
        f64::from(u8::from(forward.standing(*now) == Standing::Serving))
    });
    let help = "Clients being carried now.";
    each("localport_open_connections", GAUGE, help, &|forward| f64::from(forward.connections.open));
    let help = "Clients accepted that wait for a session now.";
    each("localport_held_clients", GAUGE, help, &|forward| f64::from(forward.connections.held));
    let help = "Clients accepted since the engine started.";
    each("localport_accepted_clients_total", COUNTER, help, &|forward| {
        forward.connections.total as f64
    });
    let bytes = all.iter().flat_map(|forward| {
        [("up", forward.bytes.up), ("down", forward.bytes.down)].map(|(direction, count)| {
            let mut labels = of(forward);
            labels.push(("direction", direction));
            (labels, count as f64)
        })
    });
    let help = "Bytes carried since the engine started; up is towards the target.";
    page.family("localport_carried_bytes_total", COUNTER, help, bytes);
}

fn of(forward: &Forward) -> Labels<'_> {
    vec![("forward", forward.name.as_str())]
}

/// Counters that go on when the history lets old receipts go.
fn sums(page: &mut Page, totals: Totals) {
    let sums = [
        ("localport_shutdowns_total", totals.shutdowns, "Shutdowns in the history."),
        ("localport_clean_shutdowns_total", totals.clean, "Shutdowns that left nothing to say."),
        ("localport_shutdown_forced_total", totals.forced, "What shutdowns had to force."),
        ("localport_shutdown_left_total", totals.left, "What shutdowns did not release."),
        (
            "localport_shutdown_unexplained_total",
            totals.unexplained,
            "Leaks: what the system still knew of at the end and nothing accounted for.",
        ),
    ];
    for (name, count, help) in sums {
        page.family(name, COUNTER, help, [(vec![], count as f64)]);
    }
}

fn last(page: &mut Page, shutdowns: &[Shutdown]) {
    let last = shutdowns.first().map(|shutdown| &shutdown.receipt);
    let mut gauge = |name, help, value: Option<f64>| {
        page.family(name, GAUGE, help, value.map(|value| (vec![], value)));
    };
    let help = "When the last shutdown began, in seconds since 1970.";
    let began = last.map(|receipt| seconds(receipt.began.0));
    gauge("localport_last_shutdown_timestamp_seconds", help, began);
    let help = "Whether the last shutdown was clean.";
    let clean = last.map(|receipt| f64::from(u8::from(receipt.is_clean())));
    gauge("localport_last_shutdown_clean", help, clean);
}

/// How long the last shutdowns took: as a whole, by stage, and by kind of lease.
fn times(page: &mut Page, shutdowns: &[Shutdown]) {
    let receipts = || shutdowns.iter().map(|shutdown| &shutdown.receipt);
    let whole: Vec<u64> = receipts().map(|receipt| receipt.took_ms).collect();
    let help = "How long shutdowns took: the last one, and percentiles of the last ones.";
    page.family("localport_shutdown_seconds", GAUGE, help, statistics(vec![], whole));

    let stages = Stage::ALL.into_iter().flat_map(|stage| {
        let passed = receipts().flat_map(|receipt| &receipt.stages);
        let took = passed.filter(|passed| passed.stage == stage).map(|passed| passed.took_ms);
        statistics(vec![("stage", stage.as_str())], took.collect())
    });
    let help = "How long each stage of the shutdowns took.";
    page.family("localport_shutdown_stage_seconds", GAUGE, help, stages);

    let kinds = LeaseKind::ALL.iter().flat_map(|kind| {
        let released = receipts().flat_map(|receipt| &receipt.released);
        let took = released.filter(|released| released.kind == *kind).map(|r| r.took_ms);
        statistics(vec![("kind", kind.as_str())], took.collect())
    });
    let help = "From the beginning of the shutdown until the last lease of the kind was released.";
    page.family("localport_shutdown_release_seconds", GAUGE, help, kinds);
}

/// The newest of `values`, and two percentiles; nothing without values.
fn statistics(labels: Labels<'_>, values: Vec<u64>) -> Vec<(Labels<'_>, f64)> {
    let newest = values.first().copied();
    let named = [
        ("last", newest),
        ("p50", percentile(values.clone(), 50)),
        ("p95", percentile(values, 95)),
    ];
    named
        .into_iter()
        .filter_map(|(statistic, ms)| {
            let mut labels = labels.clone();
            labels.push(("statistic", statistic));
            Some((labels, seconds(ms?)))
        })
        .collect()
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

#[derive(Default)]
struct Page(String);

impl Page {
    /// One family with its samples; nothing when there is none.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
            let _ = match labels.is_empty() {
                true => writeln!(self.0, "{name} {value}"),
                false => writeln!(self.0, "{name}{{{}}} {value}", labels.join(",")),
            };
        }
    }
}

/// `text` as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
