//! Outages and samples, without a clock.

use super::*;
use crate::problem::Code;
use proptest::prelude::*;

fn mark(at: u64, standing: Standing) -> Mark {
    let problem = Problem::new(Code::KubeUnreachable, format!("it broke at {at}"), "wait");
    Mark { at: Timestamp(at), standing, problem: (standing == Standing::Down).then_some(problem) }
}

fn of(marks: &[Mark], since: u64, now: u64) -> Account {
    account("orders", marks, Timestamp(since), Timestamp(now))
}

/// S5, G8: an outage lasts from the first failure until it serves again, with the first cause.
#[test]
fn g8_an_outage_has_a_beginning_an_end_and_its_first_cause() {
    use Standing::{Connecting, Down, Off, Unwatched, Up};
    let marks: Vec<Mark> = [
        (100, Connecting),
        (110, Up),
        (200, Down),
        (220, Connecting),
        (230, Down),
        (300, Up),
        (400, Down),
        (450, Off),
        (500, Connecting),
        (510, Up),
        (600, Down),
        (700, Unwatched),
        (900, Up),
        (950, Down),
    ]
    .map(|(at, standing)| mark(at, standing))
    .into();
    let told = of(&marks, 0, 1_000);
    let seen: Vec<_> = told
        .outages
        .iter()
        .map(|it| (it.began.0, it.length_ms, it.end, it.cause.as_ref().unwrap().sentence.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (950, 50, None, "it broke at 950"),
            (600, 100, Some(End::Unwatched), "it broke at 600"),
            (400, 50, Some(End::SwitchedOff), "it broke at 400"),
            (200, 100, Some(End::Recovered), "it broke at 200"),
        ]
    );
    assert_eq!((told.up_ms, told.down_ms), (90 + 100 + 90 + 50, 300));
    assert_eq!(told.standing, Some(Down));
    // What lies before the beginning is neither told nor counted.
    let late = of(&marks, 460, 1_000);
    assert_eq!((late.outages.len(), late.up_ms, late.down_ms), (2, 140, 150));
    assert_eq!(of(&[], 0, 10).uptime, None);
}

fn standings() -> impl Strategy<Value = Vec<Mark>> {
    use Standing::{Connecting, Down, Off, Unwatched, Up};
    let one = (1_u64..50, prop::sample::select(vec![Up, Down, Connecting, Off, Unwatched]));
    prop::collection::vec(one, 0..40).prop_map(|steps| {
        let mut at = 0;
        let next = |(step, standing)| {
            at += step;
            mark(at, standing)
        };
        steps.into_iter().map(next).collect()
    })
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let one = (0_u64..2_000_000, prop::option::of(0.1_f64..500.0), 0_u64..1_000_000, 0_u64..1_000);
    prop::collection::vec(one, 0..80).prop_map(|raw| {
        raw.into_iter()
            .map(|(at, rtt, up, down)| Sample {
                at: Timestamp(at),
                measured: u32::from(rtt.is_some()),
                rtt_ms: rtt,
                rtt_max_ms: rtt,
                up,
                down,
            })
            .collect()
    })
}

proptest! {
    /// Whatever happened: the sums are those of the parts, outages do not overlap, at most
    /// one lasts, and no account tells of more time than there was.
    #[test]
    fn g8_outages_never_overlap_and_sum_up(marks in standings(), since in 0_u64..500) {
        let now = marks.last().map_or(1_000, |last| last.at.0 + 7).max(since);
        let whole = of(&marks, 0, now);
        let lengths: u64 = whole.outages.iter().map(|outage| outage.length_ms).sum();
        prop_assert_eq!(whole.down_ms, lengths);
        prop_assert!(whole.up_ms + whole.down_ms <= now);
        for pair in whole.outages.windows(2) {
            prop_assert!(pair[1].ended.is_some_and(|ended| ended <= pair[0].began));
        }
        prop_assert!(whole.outages.iter().skip(1).all(|outage| outage.ended.is_some()));
        if let Some(share) = whole.uptime {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        let part = of(&marks, since, now);
        prop_assert!(part.up_ms <= whole.up_ms && part.down_ms <= whole.down_ms);
        prop_assert!(part.up_ms + part.down_ms <= now - since);
    }

    /// Coarser samples carry the same bytes, the same number of round trips with the same
    /// mean and the same longest one, in whiles that begin at multiples of their length;
    /// and the way does not matter.
    #[test]
    fn g8_downsampling_loses_nothing_but_time(raw in samples()) {
        let sum = |samples: &[Sample]| samples.iter().copied().reduce(Sample::and);
        let (fine, coarse) = (fold(&raw, FINE), fold(&raw, COARSE));
        for (samples, grain) in [(&fine, FINE), (&coarse, COARSE)] {
            prop_assert!(samples.iter().all(|sample| grain.floor(sample.at) == sample.at));
            prop_assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
            let (had, has) = (sum(&raw), sum(samples));
            prop_assert_eq!(had.map(|it| (it.up, it.down, it.measured)),
                has.map(|it| (it.up, it.down, it.measured)));
            prop_assert_eq!(had.and_then(|it| it.rtt_max_ms), has.and_then(|it| it.rtt_max_ms));
            let mean = |it: Option<Sample>| it.and_then(|it| it.rtt_ms).unwrap_or(0.0);
            prop_assert!((mean(had) - mean(has)).abs() < 1e-6);
        }
        let twice = fold(&fine, COARSE);
        prop_assert_eq!(twice.len(), coarse.len());
        prop_assert_eq!(fold(&fine, FINE), fine);
    }
}

#[test]
fn g8_a_forward_is_drawn_on_lines_that_fit() {
    let now = 100_000_000;
    let marks = [
        mark(now - 900_000, Standing::Up),
        mark(now - 60_000, Standing::Down),
        mark(now - 48_000, Standing::Up),
    ];
    let mut account = of(&marks, 0, now);
    let sample = |ago: u64, rtt: f64, down: u64| Sample {
        at: Timestamp(now - ago),
        measured: 1,
        rtt_ms: Some(rtt),
        rtt_max_ms: Some(rtt),
        up: 0,
        down,
    };
    account.fine = vec![sample(600_000, 10.0, 0), sample(10_000, 80.0, 3 << 20)];
    let said = lines(&account, |at| format!("@{}", at.0));
    assert_eq!(said[0], "orders · up · up 98.66 % of 15 min since @99100000");
    assert_eq!(said[2], format!("  @{}   12.0 s  it broke at {}", now - 60_000, now - 60_000));
    let graph = said.iter().find(|line| line.starts_with("Round trip, last 15 min")).unwrap();
    assert!(
        graph.contains('▂') && graph.contains('█') && graph.ends_with("at most 80.0 ms"),
        "{graph}"
    );
    let traffic = said.iter().find(|line| line.starts_with("Traffic")).unwrap();
    assert!(traffic.ends_with("0 B up, 3.0 MiB down"), "{traffic}");
    assert!(said.iter().all(|line| line.chars().count() < 110));
}
