//! A configuration that fails while it comes into force.

use super::*;
use crate::adapter::{Adapter, Session, SessionScope};
use crate::deadline::Deadline;
use crate::engine::{self, Memory};
use crate::registry::Registry;
use futures_util::future::BoxFuture;
use localport_core::config::Target;
use localport_core::problem::{Code, Problem};
use localport_core::shutdown::Reason;
use localport_core::snapshot::ListenerState;
use std::future::{poll_fn, ready};
use std::net::TcpStream;
use std::task::Poll;

/// Leads nowhere: only the local ports matter here.
struct Nowhere;

impl Nowhere {
    fn problem() -> Problem {
        Problem::new(Code::SshUnreachable, "`bastion` does not answer", "Check the VPN")
    }
}

impl Adapter for Nowhere {
    fn open<'a>(
        &'a self,
        _: &'a Target,
        _: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>> {
        Box::pin(ready(Err(Self::problem())))
    }

    fn trust<'a>(&'a self, _: &'a Target) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(ready(Err(Self::problem())))
    }

    fn shutdown(&self, _: Duration) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

fn text(ports: &[(&str, u16)]) -> String {
    let mut text = String::from("version: \"1.0\"\nservices:\n");
    for (name, port) in ports {
        text.push_str(&format!(
            "  - {{name: {name}, technology: ssh, local_port: {port}, remote_port: 1, \
             connection: {{host: bastion}}}}\n"
        ));
    }
    text
}

fn ports(count: usize) -> Vec<u16> {
    let held: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// S4.4: a configuration whose carrying out is broken off half way is taken back whole,
/// that is said, and the next one comes into force.
#[tokio::test]
async fn s4_4_what_fails_half_way_is_taken_back() {
    let dir = tempfile::Builder::new().prefix("lp").tempdir().unwrap();
    let home = Home::under(dir.path(), dir.path().to_owned());
    home.create().unwrap();
    let file = dir.path().join("a.yaml");
    let ports = ports(4);
    let before = [("kept", ports[0]), ("moved", ports[1])];
    let after = [("kept", ports[0]), ("moved", ports[2]), ("new", ports[3])];
    std::fs::write(&file, text(&before)).unwrap();
    let named = vec![file.clone()];
    let loaded = configuration::load(&home, &named);
    let registry = Registry::default();
    let engine = engine::start(engine::Options {
        config: loaded.config.clone(),
        searched: vec![],
        ssh: Arc::new(Nowhere),
        kube: Arc::new(Nowhere),
        registry: registry.clone(),
        drain: Duration::from_secs(1),
        deadline: Deadline::default(),
        memory: Memory::none(),
    });
    let all_listen = |count: usize| {
        let mut snapshots = engine.snapshot();
        async move {
            let listen = snapshots.wait_for(|snapshot| {
                let listening = snapshot
                    .forwards
                    .iter()
                    .filter(|forward| forward.listener.state == ListenerState::Listening);
                snapshot.forwards.len() == count && listening.count() == count
            });
            tokio::time::timeout(Duration::from_secs(10), listen).await.unwrap().unwrap();
        }
    };
    all_listen(2).await;
    let tasks = Tasks::new(HOST, &registry);
    let (in_force, texts) = (loaded.config, loaded.texts);
    let store = start(Options { home, named, engine: engine.clone(), in_force, texts }, &tasks);
    let reloader = store.reloader();

    std::fs::write(&file, text(&after)).unwrap();
    // A task that asks in every turn meets it before it has come far.
    let account = registry.clone();
    let breaks = tasks.spawn(
        "breaks it off",
        poll_fn(move |turn| {
            if account.abort("new configuration") {
                return Poll::Ready(());
            }
            turn.waker().wake_by_ref();
            Poll::Pending
        }),
    );
    let reload = reloader.reload(Who::Command, false).await.unwrap();
    breaks.abort();
    assert!(!reload.in_force, "{reload:?}");
    let pending = reload.pending.unwrap();
    assert_eq!(pending.why, PendingWhy::Refused);
    assert!(pending.sentence.contains("not carried out whole"), "{pending:?}");
    all_listen(2).await;
    let mut snapshots = engine.snapshot();
    let said = snapshots.wait_for(|snapshot| snapshot.config.pending.as_ref() == Some(&pending));
    tokio::time::timeout(Duration::from_secs(10), said).await.unwrap().unwrap();
    assert!(listens(ports[0]) && listens(ports[1]), "what was in force is again");
    assert!(!listens(ports[2]) && !listens(ports[3]), "nothing of the new one is left");

    let reload = reloader.reload(Who::Command, false).await.unwrap();
    assert!(reload.in_force, "{reload:?}");
    all_listen(3).await;
    assert!(listens(ports[0]) && listens(ports[2]) && listens(ports[3]));
    assert!(!listens(ports[1]));
    store.finish().await;
    engine.quit(Reason::Person);
    let receipt = engine.stopped().await;
    assert!(receipt.forced.is_empty() && receipt.left.is_empty(), "{receipt:?}");
}
