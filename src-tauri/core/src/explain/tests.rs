//! Golden texts: what people read is compared letter by letter.

use super::*;
use crate::receipt::{Check, Held, Released, Slow};
use crate::shutdown::{Because, Passed, Reason, Stage};
use crate::time::Timestamp;

const WHEN: &str = "2026-03-01 10:20";

fn held(kind: LeaseKind, name: &str, owner: &str) -> Held {
    Held { kind, name: name.into(), owner: owner.into() }
}

fn passed(stage: Stage, took_ms: u64, because: Because) -> Passed {
    Passed { stage, took_ms, because }
}

fn calm() -> Shutdown {
    let slow = |kind, name, took_ms| Slow { held: held(kind, name, "wiki"), took_ms };
    Shutdown {
        id: 12,
        forwards: 3,
        receipt: Receipt {
            version: "0.1.0".into(),
            pid: 4711,
            reasons: vec![Reason::Person],
            began: Timestamp(1_772_360_400_000),
            took_ms: 312,
            stages: vec![
                passed(Stage::StopNewWork, 4, Because::Done),
                passed(Stage::CompleteCurrent, 201, Because::Done),
                passed(Stage::CancelTasks, 107, Because::Done),
                passed(Stage::ForceCleanup, 0, Because::Done),
            ],
            released: vec![
                Released { kind: LeaseKind::Listener, count: 3, took_ms: 4 },
                Released { kind: LeaseKind::Connection, count: 1, took_ms: 205 },
                Released { kind: LeaseKind::Child, count: 2, took_ms: 310 },
            ],
            slowest: vec![
                slow(LeaseKind::Child, "ssh me@host", 310),
                slow(LeaseKind::Connection, "127.0.0.1:50210", 205),
            ],
            checks: vec![
                Check { what: "descriptors".into(), start: 14, end: 12, unexplained: vec![] },
                Check { what: "children".into(), start: 0, end: 0, unexplained: vec![] },
            ],
            ..Receipt::default()
        },
    }
}

fn rough() -> Shutdown {
    let mut shutdown = calm();
    let receipt = &mut shutdown.receipt;
    receipt.reasons = vec![Reason::Api, Reason::Logout];
    receipt.took_ms = 4_050;
    receipt.stages = vec![
        passed(Stage::StopNewWork, 4, Because::Done),
        passed(Stage::CompleteCurrent, 3_000, Because::Expired),
        passed(Stage::CancelTasks, 20, Because::Failed("a task panicked".into())),
        passed(Stage::ForceCleanup, 1_026, Because::Expired),
    ];
    receipt.forced = vec![held(LeaseKind::Connection, "2 open connections", "db")];
    receipt.left = vec![held(LeaseKind::Child, "ssh me@host", "wiki")];
    receipt.checks[1].unexplained = vec!["ssh (process 4720)".into()];
    receipt.faults = vec!["panic in `probe db`: planted".into()];
    receipt.remarks = vec!["It took longer than usual".into()];
    shutdown
}

/// S3.4: a clean end is a calm page.
#[test]
fn s3_4_a_clean_account() {
    let expected = "\
Shutdown 12 · 2026-03-01 10:20 · clean · 312 ms

  why       LocalPort was asked to quit
  who       version 0.1.0, process 4711, 3 forwards
  stages    stop_new_work       4 ms
            complete_current  201 ms
            cancel_tasks      107 ms
            force_cleanup       0 ms
  released  3 listeners, 1 connection, 2 children
  slowest   310 ms  child: ssh me@host of wiki
            205 ms  connection: 127.0.0.1:50210 of wiki
  system    descriptors 14 → 12, children 0 → 0";
    assert_eq!(account(&calm(), WHEN).join("\n"), expected);
}

/// S3.4: whatever was not clean is named.
#[test]
fn s3_4_an_account_of_trouble() {
    let expected = "\
Shutdown 12 · 2026-03-01 10:20 · 1 forced, 1 left, 1 unexplained, 1 fault · 4.0 s

  why       LocalPort was asked to quit over the control API, then ended with the login session
  who       version 0.1.0, process 4711, 3 forwards
  stages    stop_new_work      4 ms
            complete_current  3.0 s  ran out of time
            cancel_tasks      20 ms  failed: a task panicked
            force_cleanup     1.0 s  ran out of time
  released  3 listeners, 1 connection, 2 children
  slowest   310 ms  child: ssh me@host of wiki
            205 ms  connection: 127.0.0.1:50210 of wiki
  forced    connection: 2 open connections of db
  left      child: ssh me@host of wiki
  system    descriptors 14 → 12, children 0 → 0
            unexplained in children: ssh (process 4720)
  faults    panic in `probe db`: planted
  remarks   It took longer than usual";
    assert_eq!(account(&rough(), WHEN).join("\n"), expected);
}

/// A receipt that says next to nothing is still an account.
#[test]
fn an_empty_account() {
    let lines = account(&Shutdown::default(), WHEN);
    assert_eq!(lines[0], "Shutdown 0 · 2026-03-01 10:20 · clean · 0 ms");
    assert!(lines[2].ends_with("LocalPort ended for a reason that was not recorded"));
    assert_eq!(lines.len(), 4);
}

/// A thousand of a kind are ten names and a number.
#[test]
fn a_long_list_is_cut() {
    let mut shutdown = calm();
    let many = |index| held(LeaseKind::Connection, &format!("client {index}"), "db");
    shutdown.receipt.forced = (0..1_000).map(many).collect();
    let text = account(&shutdown, WHEN).join("\n");
    assert!(text.contains("client 9 of db\n            and 990 more\n"), "{text}");
    assert!(!text.contains("client 10 "));
}

#[test]
fn durations_and_counts_in_words() {
    let words = [0, 999, 1_000, 1_999, 119_999, 120_000].map(duration);
    assert_eq!(words, ["0 ms", "999 ms", "1.0 s", "1.9 s", "119.9 s", "2 min"]);
    let kinds: Vec<String> = LeaseKind::ALL.iter().map(|kind| counted(2, *kind)).collect();
    assert!(kinds.contains(&"2 watches".to_owned()) && kinds.contains(&"2 bus names".to_owned()));
    assert_eq!(counted(1, LeaseKind::BusName), "1 bus name");
}

/// S8.5: a clean end, explained.
#[test]
fn s8_5_a_clean_story() {
    let expected = "\
Shutdown 12 · 2026-03-01 10:20 · clean · 312 ms
LocalPort, with 3 forwards, was asked to quit.
stop_new_work, 4 ms: the local ports closed, so nothing new came (3 listeners).
complete_current, 201 ms: open connections had their time to finish (1 connection).
cancel_tasks, 107 ms: what carried the connections ended in good order (2 children).
force_cleanup, 0 ms: nothing needed it.
The operating system agrees; compared were descriptors, children.
Everything was released; there is nothing to do.";
    assert_eq!(story(&calm(), WHEN).join("\n"), expected);
}

/// S8.5: trouble, explained: what was forced and why, what was left, what can be done.
#[test]
fn s8_5_a_story_of_trouble() {
    let expected = "\
Shutdown 12 · 2026-03-01 10:20 · 1 forced, 1 left, 1 unexplained, 1 fault · 4.0 s
LocalPort, with 3 forwards, was asked to quit over the control API, then ended with the login session.
stop_new_work, 4 ms: the local ports closed, so nothing new came (3 listeners).
complete_current, 3.0 s: open connections had their time to finish (1 connection). Its time ran out.
cancel_tasks, 20 ms: what was still open was cut, and what carried it ended in good order (2 children). It failed (a task panicked), and the end went on without it.
force_cleanup, 1.0 s: whatever did not end by itself was ended by force. Its time ran out.
Forced, because the time for open connections was over: connection `2 open connections` of db.
Not released before the process ended: child `ssh me@host` of wiki.
The operating system still knew of what nothing accounts for: `ssh (process 4720)` (children).
On the way: panic in `probe db`: planted.
It took longer than usual.
To lose no connection, end the clients first, or give them more time with `daemon: shutdown: phases: complete_current` in the configuration. The next start ends a process that was left behind.";
    assert_eq!(story(&rough(), WHEN).join("\n"), expected);
}

/// S8.5: why something was forced depends on how the stage before it ended.
#[test]
fn s8_5_the_reasons_of_force() {
    let mut shutdown = rough();
    let text = |shutdown: &Shutdown| story(shutdown, WHEN).join("\n");
    shutdown.receipt.stages[1].because = Because::Hurried;
    assert!(text(&shutdown).contains("Forced, because a second request asked for speed: "));
    shutdown.receipt.stages[1].because = Because::Done;
    shutdown.receipt.forced = vec![held(LeaseKind::Child, "ssh me@host", "wiki")];
    let child = text(&shutdown);
    assert!(child.contains("Forced, because it did not end when it was asked to: child `ssh"));
    assert!(child.contains("`localport logs` shows what the process said last."));
    shutdown.receipt.forced.clear();
    shutdown.receipt.left.clear();
    assert!(text(&shutdown).ends_with("please report it with `localport shutdown last --json`."));
    shutdown.receipt.checks.clear();
    assert!(text(&shutdown).ends_with("Everything was released all the same."));
    shutdown.receipt.released.clear();
    assert!(text(&shutdown).contains("complete_current, 3.0 s: no connection was open.\n"));
}

/// The line above a table of history.
#[test]
fn the_usual_in_one_line() {
    let mut rows = vec![calm(); 3];
    rows.push(rough());
    let line = "4 shutdowns, 3 clean · half within 312 ms, 95 of 100 within 4.0 s";
    assert_eq!(usual(&rows), line);
    assert_eq!(usual(&[]), "No shutdown was kept yet");
    assert_eq!(who(&rough().receipt), "control API");
    assert_eq!(who(&Receipt::default()), "–");
}

#[test]
fn paragraphs_are_wrapped_between_words() {
    let lines = wrapped("one two three-and-a-half four", 9);
    assert_eq!(lines, ["one two", "  three-and-a-half", "  four"]);
    assert_eq!(wrapped("", 9), [""]);
}
