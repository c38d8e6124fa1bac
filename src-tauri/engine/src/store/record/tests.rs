//! What is kept of forwards, against a real file.

use super::*;
use localport_core::problem::{Code, Problem};
use localport_core::record::End;
use std::path::PathBuf;
use tempfile::TempDir;

const MINUTE: u64 = 60_000;
const START: u64 = 1_800_000_000_000;

fn fresh() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("localport.db");
    (dir, path)
}

fn mark(minute: u64, standing: Standing) -> (String, Mark) {
    let problem = Problem::new(Code::SshUnreachable, "it is away", "wait");
    let problem = (standing == Standing::Down).then_some(problem);
    ("orders".to_owned(), Mark { at: Timestamp(START + minute * MINUTE), standing, problem })
}

fn sample(second: u64, rtt: f64, down: u64) -> (String, Sample) {
    let at = Timestamp(START + second * 1_000);
    let rtt = Some(rtt);
    ("orders".to_owned(), Sample { at, measured: 1, rtt_ms: rtt, rtt_max_ms: rtt, up: 1, down })
}

fn batch(minute: u64, marks: Vec<(String, Mark)>, samples: Vec<(String, Sample)>) -> Batch {
    Batch { looked: Timestamp(START + minute * MINUTE), marks, samples }
}

fn told(database: &Database, minute: u64) -> Account {
    database.account("orders", Timestamp(0), Timestamp(START + minute * MINUTE)).unwrap()
}

/// G8: outages come back with cause and length; one forward's are not another's.
#[test]
fn g8_marks_are_read_back_as_outages() {
    let (_dir, path) = fresh();
    let mut database = Database::open(&path).unwrap();
    let marks = vec![mark(0, Standing::Up), mark(3, Standing::Down), mark(5, Standing::Up)];
    database.record(&batch(6, marks, vec![])).unwrap();
    drop(database);
    let database = Database::read(&path).unwrap().unwrap();
    let account = told(&database, 10);
    let outage = &account.outages[0];
    assert_eq!((account.outages.len(), outage.length_ms), (1, 2 * MINUTE));
    assert_eq!(
        (outage.end, outage.cause.as_ref().unwrap().code),
        (Some(End::Recovered), Code::SshUnreachable)
    );
    assert_eq!((account.up_ms, account.standing), (8 * MINUTE, Some(Standing::Up)));
    let other = database.account("other", Timestamp(0), Timestamp(START)).unwrap();
    assert_eq!((other.standing, other.outages.len()), (None, 0));
}

/// G8: of a host that was killed, the time after its last look is nobody's.
#[test]
fn g8_a_killed_host_ends_what_it_left_open_when_it_last_looked() {
    let (_dir, path) = fresh();
    let mut database = Database::open(&path).unwrap();
    database
        .record(&batch(2, vec![mark(0, Standing::Up), mark(1, Standing::Down)], vec![]))
        .unwrap();
    database.record(&batch(4, vec![], vec![])).unwrap();
    drop(database);
    let mut database = Database::open(&path).unwrap();
    database.resume().unwrap();
    // Once is enough.
    database.resume().unwrap();
    database.record(&batch(60, vec![mark(60, Standing::Up)], vec![])).unwrap();
    let account = told(&database, 61);
    assert_eq!((account.up_ms, account.down_ms), (2 * MINUTE, 3 * MINUTE));
    assert_eq!(account.outages[0].end, Some(End::Unwatched));
}

/// G8: samples are folded as they are kept, whatever the batches, and go when they are old.
#[test]
fn g8_samples_are_folded_and_bounded() {
    let (_dir, path) = fresh();
    let mut database = Database::open(&path).unwrap();
    database.record(&batch(0, vec![], vec![sample(0, 10.0, 5)])).unwrap();
    database.record(&batch(0, vec![], vec![sample(3, 30.0, 7), sample(20, 50.0, 0)])).unwrap();
    let account = told(&database, 1);
    assert_eq!(account.fine.len(), 2);
    let first = account.fine[0];
    assert_eq!((first.measured, first.rtt_ms, first.rtt_max_ms), (2, Some(20.0), Some(30.0)));
    assert_eq!((first.up, first.down), (2, 12));
    let coarse = account.coarse[0];
    assert_eq!((account.coarse.len(), coarse.measured, coarse.rtt_ms), (1, 3, Some(30.0)));
    // A quarter of an hour later only the coarse one is left, a day later none.
    database.record(&batch(20, vec![], vec![])).unwrap();
    let account = told(&database, 20);
    assert_eq!((account.fine.len(), account.coarse.len()), (0, 1));
    database.record(&batch(25 * 60, vec![], vec![])).unwrap();
    let left: u32 = database
        .connection
        .query_row("SELECT COUNT(*) FROM samples", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

/// G8: a forward that comes and goes all the time keeps its newest marks, and no more.
#[test]
fn g8_marks_are_bounded() {
    let (_dir, path) = fresh();
    let mut database = Database::open(&path).unwrap();
    let standing = |at: u64| if at.is_multiple_of(2) { Standing::Down } else { Standing::Up };
    let marks: Vec<_> = (0..1_200).map(|at| mark(at, standing(at))).collect();
    database.record(&batch(1_200, marks, vec![])).unwrap();
    let left = super::marks(&database.connection, "orders").unwrap();
    assert_eq!(left.len(), usize::try_from(MARKS).unwrap());
    assert_eq!(left.last().unwrap().at, Timestamp(START + 1_199 * MINUTE));
}

/// A file that only an older LocalPort wrote has nothing to tell, and is no failure.
#[test]
fn g8_an_older_file_is_read_as_empty() {
    let (_dir, path) = fresh();
    let mut connection = Connection::open(&path).unwrap();
    super::super::schema::migrate(&mut connection, &super::super::schema::STEPS[..1]).unwrap();
    drop(connection);
    let database = Database::read(&path).unwrap().unwrap();
    assert_eq!(told(&database, 1).standing, None);
    assert_eq!(database.looked().unwrap(), None);
    drop(database);
    let mut database = Database::open(&path).unwrap();
    database.record(&batch(0, vec![mark(0, Standing::Up)], vec![])).unwrap();
    assert_eq!(told(&database, 1).standing, Some(Standing::Up));
}

/// What cannot be written waits, and does not grow without end.
#[test]
fn g8_what_waits_is_bounded() {
    let mut waiting = Batch::default();
    for minute in 0..30_000 {
        waiting.add(batch(minute, vec![mark(minute, Standing::Up)], vec![]));
    }
    assert_eq!(waiting.marks.len(), Batch::MOST);
    assert_eq!(waiting.marks.last().unwrap().1.at, waiting.looked);
}
