//! The history against real files: bounded, damaged, unwritable, newer.

use super::*;
use crate::registry::Registry;
use localport_core::receipt::{Held, Slow};
use localport_core::resource::LeaseKind;
use localport_core::time::Timestamp;
use std::fs;
use tempfile::TempDir;

fn home() -> (TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::under(dir.path(), dir.path().to_owned());
    home.create().unwrap();
    (dir, home)
}

fn receipt(began: u64) -> Receipt {
    Receipt { began: Timestamp(began), took_ms: 20, ..Receipt::default() }
}

fn read(home: &Home, limit: u32) -> History {
    Database::read(&home.database()).unwrap().unwrap().history(limit).unwrap()
}

/// S10.5: what was kept is read again, newest first, by this user alone.
#[test]
fn s10_5_a_receipt_is_kept_for_its_owner_only() {
    let (_dir, home) = home();
    assert!(Database::read(&home.database()).unwrap().is_none());
    for began in 1..=3 {
        let kept = Database::open(&home.database()).unwrap().keep(7, receipt(began)).unwrap();
        assert_eq!((kept.id, kept.forwards), (began, 7));
    }
    let history = read(&home, 2);
    let began: Vec<u64> = history.shutdowns.iter().map(|s| s.receipt.began.0).collect();
    assert_eq!(began, [3, 2]);
    assert_eq!((history.totals.shutdowns, history.totals.clean), (3, 3));
    // Nothing lies beside it once nobody has it open.
    let names: Vec<_> =
        fs::read_dir(&home.state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "localport.db" || name == "logs"), "{names:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _open = Database::open(&home.database()).unwrap();
        for name in ["localport.db", "localport.db-wal", "localport.db-shm"] {
            let mode = fs::metadata(home.state.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}

/// S10.5: bounded by number; the sums go on and no number is given twice.
#[test]
fn s10_5_the_oldest_go() {
    let (_dir, home) = home();
    let mut database = Database::open(&home.database()).unwrap();
    for began in 0..u64::from(KEPT) + 20 {
        database.keep(1, receipt(began)).unwrap();
    }
    let history = database.history(u32::MAX).unwrap();
    assert_eq!(history.shutdowns.len(), 500);
    assert_eq!(history.shutdowns.last().unwrap().receipt.began, Timestamp(20));
    assert_eq!(history.shutdowns[0].id, 520);
    assert_eq!(history.totals.shutdowns, 520);
}

/// S10.5: bounded by bytes too; the newest stays whatever its size.
#[test]
fn s10_5_large_receipts_push_more_out() {
    let (_dir, home) = home();
    let mut database = Database::open(&home.database()).unwrap();
    let large = Receipt { faults: vec!["x".repeat(3 << 20)], ..receipt(1) };
    for _ in 0..4 {
        database.keep(1, large.clone()).unwrap();
    }
    assert_eq!(database.history(10).unwrap().shutdowns.len(), 2);
    let larger = Receipt { faults: vec!["x".repeat(9 << 20)], ..receipt(1) };
    database.keep(1, larger).unwrap();
    assert_eq!(database.history(10).unwrap().shutdowns.len(), 1);
}

/// S10.1: the sums count what was not clean.
#[test]
fn s10_1_the_sums_tell_clean_from_forced() {
    let (_dir, home) = home();
    let mut database = Database::open(&home.database()).unwrap();
    let held = Held { kind: LeaseKind::Child, name: "ssh me@host".into(), owner: "wiki".into() };
    let forced = Receipt { forced: vec![held.clone(), held.clone()], ..receipt(1) };
    let left = Receipt { left: vec![held], ..receipt(2) };
    for receipt in [forced, left, receipt(3)] {
        database.keep(1, receipt).unwrap();
    }
    let totals = database.history(0).unwrap().totals;
    assert_eq!((totals.shutdowns, totals.clean, totals.forced, totals.left), (3, 1, 2, 1));
}

/// S10.5: a file that is no database is set aside, and the receipt is kept in a new one.
#[tokio::test]
async fn s10_5_a_damaged_file_is_set_aside() {
    let (_dir, home) = home();
    fs::write(home.database(), "no database at all ".repeat(500)).unwrap();
    let tasks = Tasks::new(HOST, &Registry::default());
    let settled = Store::start(&home, &tasks).settle(receipt(5), 2).await;
    assert_eq!(settled.remarks, Vec::<String>::new());
    assert_eq!(read(&home, 9).shutdowns.len(), 1);
    let aside = fs::read_to_string(home.state.join("localport.db.damaged")).unwrap();
    assert!(aside.starts_with("no database"));
}

/// S10.5: a file whose pages are torn is noticed at the start, not trusted at the end.
#[tokio::test]
async fn s10_5_torn_pages_are_set_aside() {
    let (_dir, home) = home();
    let path = home.database();
    let mut database = Database::open(&path).unwrap();
    for began in 0..200 {
        database.keep(1, receipt(began)).unwrap();
    }
    drop(database);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[8_192..length - 4_096].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    prepare(&path);
    assert!(home.state.join("localport.db.damaged").exists());
    let (kept, _) = keep(&path, 1, receipt(1));
    assert_eq!((kept.remarks.len(), read(&home, 9).shutdowns.len()), (0, 1));
}

/// S10.5: what cannot be written is said in the receipt, and the end goes on.
#[tokio::test]
async fn s10_5_a_loss_is_said() {
    let (_dir, home) = home();
    // A directory in its place cannot be written, not even by root.
    fs::create_dir(home.database()).unwrap();
    let tasks = Tasks::new(HOST, &Registry::default());
    let store = Store::start(&home, &tasks);
    let settled = store.settle(receipt(5), 2).await;
    let [remark] = &settled.remarks[..] else { panic!("{settled:?}") };
    assert!(remark.starts_with("This shutdown is not in the history: the history `"), "{remark}");
    assert!(store.history(5).await.is_err());
    // A task that is gone is no reason to wait either.
    tasks.cancel();
    tasks.wait().await;
    let settled = store.settle(receipt(6), 2).await;
    assert!(settled.remarks[0].ends_with("is not looked after any more"), "{settled:?}");
}

/// S10.5: a file that another process holds delays the end by no more than its share.
#[tokio::test]
async fn s10_5_a_held_file_is_not_waited_for() {
    let (_dir, home) = home();
    drop(Database::open(&home.database()).unwrap());
    let other = rusqlite::Connection::open(home.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tasks = Tasks::new(HOST, &Registry::default());
    let begun = std::time::Instant::now();
    let settled = Store::start(&home, &tasks).settle(receipt(5), 2).await;
    assert!(begun.elapsed() < SETTLE * 3, "{:?}", begun.elapsed());
    assert_eq!(settled.remarks.len(), 1, "{settled:?}");
    other.execute_batch("ROLLBACK").unwrap();
    let settled = Store::start(&home, &tasks).settle(receipt(6), 2).await;
    assert_eq!(settled.remarks.len(), 0, "{settled:?}");
}

/// S10.5: each step of the form is taken once; an older file keeps what it has.
#[test]
fn s10_5_an_older_form_is_brought_up() {
    let steps = ["CREATE TABLE first (a)", "ALTER TABLE first ADD COLUMN b DEFAULT 2"];
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection, &steps[..1]).unwrap();
    connection.execute("INSERT INTO first VALUES (1)", []).unwrap();
    for _ in 0..2 {
        schema::migrate(&mut connection, &steps).unwrap();
    }
    let row: (i64, i64) = connection
        .query_row("SELECT a, b FROM first", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(row, (1, 2));
    // A step that fails leaves the form as it was.
    let broken = [steps[0], steps[1], "CREATE TABLE second (a); nonsense"];
    assert!(schema::migrate(&mut connection, &broken).is_err());
    assert_eq!(schema::version(&connection).unwrap(), 2);
    assert!(connection.query_row("SELECT 1 FROM second", [], |_| Ok(())).is_err());
}

/// A file of a newer LocalPort is neither changed nor set aside.
#[test]
fn a_newer_form_is_left_alone() {
    let (_dir, home) = home();
    let path = home.database();
    drop(Database::open(&path).unwrap());
    let other = rusqlite::Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let (kept, _) = keep(&path, 1, receipt(1));
    assert!(kept.remarks[0].contains("written by a newer LocalPort"), "{kept:?}");
    assert!(Database::read(&path).is_err());
    assert!(path.exists() && !home.state.join("localport.db.damaged").exists());
}

/// S10.3, S10.4: the receipt that is given back and the one that is kept both say that
/// it was slow, and name the lease.
#[tokio::test]
async fn s10_3_a_slow_end_is_said_and_kept_so() {
    let (_dir, home) = home();
    let mut database = Database::open(&home.database()).unwrap();
    for began in 0..8 {
        database.keep(2, receipt(began)).unwrap();
    }
    drop(database);
    let held = Held { kind: LeaseKind::Child, name: "ssh me@host".into(), owner: "wiki".into() };
    let slow = Receipt { took_ms: 900, slowest: vec![Slow { held, took_ms: 899 }], ..receipt(9) };
    let tasks = Tasks::new(HOST, &Registry::default());
    let store = Store::start(&home, &tasks);
    let settled = store.settle(slow, 2).await;
    let [remark] = &settled.remarks[..] else { panic!("{settled:?}") };
    assert!(remark.ends_with("899 ms were spent on child `ssh me@host of wiki`"), "{remark}");
    assert_eq!(store.history(1).await.unwrap().shutdowns[0].receipt, settled);
    let next = store.settle(receipt(10), 2).await;
    assert_eq!(next.remarks, Vec::<String>::new());
}
