use super::*;
use proptest::prelude::*;

const T0: Timestamp = Timestamp(1_000_000);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn receipts(tell: &[Tell]) -> Vec<PartReceipt> {
    tell.iter()
        .filter_map(|tell| match tell {
            Tell::Finished(_, receipt) => Some(receipt.clone()),
            _ => None,
        })
        .collect()
}

/// S8.3: a forward without connections is drained as soon as it shows so.
#[test]
fn s8_3_a_part_is_drained_when_all_of_it_is() {
    let mut parts = Parts::new(names(&["c"]));
    let begun = parts.drain(&names(&["a", "b", "c"]), seconds(8), T0);
    assert_eq!((begun.forwards, begun.off), (names(&["a", "b"]), names(&["c"])));
    assert_eq!(begun.tell.len(), 2);
    assert!(receipts(&parts.shown("a", 1, true, true, T0 + seconds(1))).is_empty());
    assert_eq!(parts.view("a").unwrap().stage, None);
    assert_eq!(parts.view("b").unwrap().stage, Some(Stage::StopNewWork));
    let tell = parts.shown("b", 1, true, true, T0 + seconds(3));
    let receipt = &receipts(&tell)[0];
    assert_eq!((receipt.took_ms, receipt.is_clean()), (3_000, true));
    assert_eq!(parts.wake_at(), None);
    // And only these come back.
    let (resumed, _) = parts.resume(&names(&["a", "b", "c"]), T0);
    assert_eq!(resumed, names(&["a", "b"]));
    assert_eq!(parts.resume(&names(&["a", "b", "c"]), T0), (vec![], vec![]));
}

/// S8.3: what a forward showed before it obeyed says nothing about the drain.
#[test]
fn s8_3_an_old_view_ends_no_drain() {
    let mut parts = Parts::default();
    parts.drain(&names(&["a"]), seconds(8), T0);
    assert!(parts.shown("a", 0, true, true, T0).is_empty());
    assert_eq!(parts.view("a").unwrap().stage, Some(Stage::StopNewWork));
}

/// S8.3: the time given is the time that connections get; then they are cut and named.
#[test]
fn s8_3_the_time_out_cuts_and_names() {
    let mut parts = Parts::default();
    parts.drain(&names(&["a"]), seconds(30), T0);
    let tell = parts.shown("a", 1, true, false, T0);
    assert_eq!(tell, [Tell::Entered("a".into(), Stage::CompleteCurrent)]);
    assert_eq!(parts.wake_at(), Some(T0 + seconds(30)));
    // Asked again with less time: less time it is, and never more.
    parts.drain(&names(&["a"]), seconds(60), T0 + seconds(1));
    assert_eq!(parts.wake_at(), Some(T0 + seconds(30)));
    let begun = parts.drain(&names(&["a"]), seconds(4), T0 + seconds(1));
    assert_eq!((begun.tell, parts.wake_at()), (vec![], Some(T0 + seconds(5))));
    assert!(parts.due(T0 + seconds(4)).is_empty());
    let tell = parts.due(T0 + seconds(5));
    assert!(tell.contains(&Tell::Cut { name: "a".into(), number: 1 }), "{tell:?}");
    parts.forced("a", 2);
    let tell = parts.shown("a", 1, true, true, T0 + seconds(5));
    let receipts = receipts(&tell);
    assert_eq!(receipts.len(), 3, "each who asked is answered: {tell:?}");
    assert!(receipts.iter().all(|receipt| receipt.forced == [connections("a", 2)]));
    assert_eq!(parts.view("a").unwrap().forced, 2);
}

/// S8.3: resumed in the middle, nothing is cut, and the receipt says so.
#[test]
fn s8_3_a_resume_in_the_middle_cuts_nothing() {
    let mut parts = Parts::default();
    parts.drain(&names(&["a"]), seconds(8), T0);
    parts.shown("a", 1, true, false, T0);
    let (resumed, tell) = parts.resume(&names(&["a"]), T0 + seconds(2));
    assert_eq!(resumed, names(&["a"]));
    assert_eq!(tell[0], Tell::Start("a".into()));
    assert_eq!(receipts(&tell)[0].resumed, names(&["a"]));
    assert_eq!((parts.wake_at(), parts.view("a")), (None, None));
    assert!(parts.due(T0 + seconds(100)).is_empty());
    // A late view of the drain that was is not one of the next.
    parts.drain(&names(&["a"]), seconds(8), T0 + seconds(3));
    assert!(parts.shown("a", 1, true, true, T0 + seconds(3)).is_empty());
}

/// S8.3: a stop in the middle makes it plainly off; its drain still ends in time.
#[test]
fn s8_3_a_stop_takes_the_mark_away() {
    let mut parts = Parts::default();
    parts.drain(&names(&["a"]), seconds(8), T0);
    parts.shown("a", 1, true, false, T0);
    parts.switched_off(&names(&["a"]));
    assert_eq!(parts.view("a"), None);
    assert_eq!(parts.resume(&names(&["a"]), T0).0, names(&[]));
    let tell = parts.due(T0 + seconds(8));
    assert!(tell.contains(&Tell::Cut { name: "a".into(), number: 1 }));
    let tell = parts.shown("a", 1, true, true, T0 + seconds(8));
    assert_eq!(receipts(&tell)[0].took_ms, 8_000);
    assert!(!parts.wanted("a"));
    parts.switched_on(&names(&["a"]), T0);
    assert!(parts.wanted("a"));
}

#[derive(Clone, Debug)]
enum Do {
    Drain(u64),
    Resume,
    Start,
    Stop,
    Forget,
    Show { late: u64, closed: bool, ended: bool },
    Pass(u64),
}

fn doing() -> impl Strategy<Value = Do> {
    prop_oneof![
        (0..40u64).prop_map(Do::Drain),
        Just(Do::Resume),
        Just(Do::Start),
        Just(Do::Stop),
        Just(Do::Forget),
        (0..2u64, any::<bool>(), any::<bool>()).prop_map(|(late, closed, ended)| Do::Show {
            late,
            closed,
            ended
        }),
        (0..20u64).prop_map(Do::Pass),
    ]
}

proptest! {
    /// S8.3: whatever comes in whatever order: the last wish counts, each drain gives one
    /// receipt, and with the passing of time alone every drain ends.
    #[test]
    fn s8_3_the_last_wish_counts(doings in prop::collection::vec(doing(), 0..40)) {
        let mut parts = Parts::default();
        let a = names(&["a"]);
        let (mut now, mut on, mut drained) = (T0, true, false);
        let (mut begun, mut finished) = (0, vec![]);
        for what in doings {
            let tell = match what {
                Do::Drain(within) => {
                    drained |= on;
                    on = false;
                    begun += 1;
                    parts.drain(&a, seconds(within), now).tell
                }
                Do::Resume => {
                    on |= drained;
                    drained = false;
                    parts.resume(&a, now).1
                }
                Do::Start => {
                    (on, drained) = (true, false);
                    parts.switched_on(&a, now)
                }
                Do::Stop => {
                    (on, drained) = (false, false);
                    parts.switched_off(&a);
                    vec![]
                }
                Do::Forget => {
                    (on, drained) = (true, false);
                    parts.forget("a", now)
                }
                Do::Show { late, closed, ended } => {
                    parts.shown("a", begun - late.min(begun), closed || ended, ended, now)
                }
                Do::Pass(time) => {
                    now = now + seconds(time);
                    parts.due(now)
                }
            };
            for tell in tell {
                match tell {
                    Tell::Finished(number, _) => finished.push(number),
                    Tell::Cut { .. } | Tell::Drain { .. } => prop_assert!(!on, "{:?}", parts),
                    _ => {}
                }
            }
            prop_assert_eq!(parts.wanted("a"), on);
            prop_assert_eq!(parts.view("a").is_some(), drained);
        }
        for _ in Stage::ALL {
            now = now + seconds(60);
            let tell = parts.due(now);
            finished.extend(tell.iter().filter_map(|tell| match tell {
                Tell::Finished(number, _) => Some(*number),
                _ => None,
            }));
        }
        finished.sort_unstable();
        prop_assert_eq!(finished, (1..=begun).collect::<Vec<_>>());
        prop_assert_eq!(parts.wake_at(), None);
    }
}
