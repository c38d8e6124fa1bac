//! The receipt of an end: what was released, forced and left, and what went wrong.

// A test may fail.
#![allow(clippy::unwrap_used)]

#[path = "common/scripted.rs"]
mod common;

use common::{
    DEADLINE, Far, Planted, Scripted, away, echo, echo_server, engine, engine_of, first, free_port,
    spec, until,
};
use localport_core::receipt::Receipt;
use localport_core::release::out_of_order;
use localport_core::resource::LeaseKind;
use localport_core::shutdown::{Because, Reason, Stage};
use localport_core::snapshot::ListenerState;
use localport_engine::handle::EngineHandle;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn open(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"first").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    client
}

async fn ended(engine: &EngineHandle) -> Receipt {
    timeout(DEADLINE, engine.stopped()).await.unwrap()
}

fn released(receipt: &Receipt, kind: LeaseKind) -> u32 {
    receipt.released.iter().filter(|r| r.kind == kind).map(|r| r.count).sum()
}

async fn serving(engine: &EngineHandle) {
    until(engine, "serving", |s| {
        !s.forwards.is_empty() && s.forwards.iter().all(|f| f.word(s.at) == "serving")
    })
    .await;
}

/// S3.4, S3.5: everything that was held is in the receipt by kind, a connection that
/// ended by itself among the released, and nothing went before what stood on it.
#[tokio::test]
async fn s3_4_a_clean_end_accounts_for_everything() {
    let adapter = Scripted::new(Far::Up(echo_server().await));
    let ports = [free_port(), free_port()];
    let forwards = vec![spec("orders", ports[0]), spec("wiki", ports[1])];
    let engine = engine(&adapter, forwards, Duration::from_secs(30));
    serving(&engine).await;
    let (one, two) = (open(ports[0]).await, open(ports[0]).await);
    assert_eq!(echo(ports[1], b"over before").await.unwrap(), b"over before");
    let connection = engine.resources().into_iter().find(|l| l.kind == LeaseKind::Connection);
    let session = connection.unwrap().stands_on[0];
    let session = engine.resources().into_iter().find(|lease| lease.id == session).unwrap();
    assert_eq!((session.kind, session.owner.as_str()), (LeaseKind::Session, "orders"));

    engine.quit(Reason::Person);
    until(&engine, "closed listeners", |s| {
        s.forwards.iter().all(|f| f.listener.state == ListenerState::Closed)
    })
    .await;
    drop(one);
    drop(two);
    let receipt = ended(&engine).await;
    assert!(receipt.is_clean(), "{receipt:#?}");
    assert_eq!(released(&receipt, LeaseKind::Listener), 2);
    assert_eq!(released(&receipt, LeaseKind::Connection), 2);
    assert_eq!(released(&receipt, LeaseKind::Session), 2);
    assert!(released(&receipt, LeaseKind::Task) >= 6, "{receipt:#?}");
    assert_eq!(receipt.faults, Vec::<String>::new());
    assert_eq!(receipt.slowest.len(), 3);
    let gone = engine.released();
    assert_eq!(out_of_order(&gone), []);
}

/// S2.4, S8.1: a panic in the clean-up of each stage is in the receipt with its words,
/// every stage has its turn, the other forward and the other adapter are released.
#[tokio::test]
async fn s2_4_a_panic_in_any_stage_is_told_and_stops_nothing() {
    let plants = [
        (Planted::Attempt, Stage::StopNewWork),
        (Planted::Connection, Stage::CompleteCurrent),
        (Planted::Shutdown, Stage::CancelTasks),
        (Planted::SecondShutdown, Stage::ForceCleanup),
    ];
    let server = echo_server().await;
    for (plant, stage) in plants {
        let adapter = Scripted::new(Far::Up(server)).planted(plant);
        let other = Scripted::new(Far::Away(away()));
        let port = free_port();
        let engine = engine_of([&adapter, &other], vec![spec("orders", port)], DEADLINE);
        let listening =
            |f: &localport_core::snapshot::Forward| f.listener.state == ListenerState::Listening;
        until(&engine, "an attempt", |s| {
            first(s, listening) && adapter.opened.load(Ordering::Relaxed) > 0
        })
        .await;
        let client = match plant {
            Planted::Connection => Some(open(port).await),
            _ => None,
        };
        engine.quit(Reason::Person);
        if plant == Planted::SecondShutdown {
            until(&engine, "the cutting", |s| {
                s.ending.as_ref().is_some_and(|e| e.stage == Stage::CancelTasks)
            })
            .await;
            engine.hurry();
        }
        drop(client);
        let receipt = ended(&engine).await;
        let words = format!("planted in {plant:?}");
        assert!(
            receipt.faults.iter().any(|fault| fault.contains("panicked")),
            "{stage:?}: {receipt:#?}"
        );
        if plant != Planted::Attempt && plant != Planted::Connection {
            assert!(receipt.faults[0].ends_with(&words), "{stage:?}: {receipt:#?}");
        }
        let passed: Vec<Stage> = receipt.stages.iter().map(|passed| passed.stage).collect();
        assert_eq!(passed, Stage::ALL, "{stage:?}");
        assert!(other.shutdowns.load(Ordering::Relaxed) > 0, "{stage:?}");
        assert_eq!(receipt.left, [], "{stage:?}: {receipt:#?}");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "{stage:?}");
    }
}

/// S3.4, S8.2: connections that are cut are forced; a clean-up that hangs is passed
/// when its time is over, and what had ended is released all the same.
#[tokio::test]
async fn s8_2_a_hanging_adapter_is_passed() {
    let adapter = Scripted::new(Far::Up(echo_server().await)).planted(Planted::Hang);
    let port = free_port();
    let engine = engine(&adapter, vec![spec("orders", port)], Duration::from_millis(50));
    serving(&engine).await;
    let _clients = (open(port).await, open(port).await);
    engine.quit_within(Reason::Logout, Duration::from_secs(2));
    let receipt = ended(&engine).await;
    let forced: Vec<String> = receipt.forced.iter().map(ToString::to_string).collect();
    assert_eq!(forced, ["2 open connections of orders"]);
    assert_eq!(released(&receipt, LeaseKind::Connection), 0);
    assert_eq!(released(&receipt, LeaseKind::Session), 1);
    assert_eq!(receipt.stages[2].because, Because::Expired);
    assert!(receipt.took_ms < 2_500, "{receipt:#?}");
    assert!(!receipt.is_clean());
}
