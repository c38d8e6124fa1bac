//! The receipt of a whole host against the operating system's own view.
//!
//! One test, one process: what another test of the same process opened would be named.

#![cfg(target_os = "linux")]
// A test may fail.
#![allow(clippy::unwrap_used)]

use localport_core::receipt::Receipt;
use localport_core::shutdown::Reason;
use localport_engine::home::Home;
use localport_engine::host::{self, HostOptions, Role};
use localport_engine::verify::RUNTIME_THREAD;
use std::any::Any;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const CHECKS: [&str; 5] = ["descriptors", "sockets", "children", "threads", "files"];

/// Lives until its sender goes.
struct Thread(Option<mpsc::Sender<()>>, Option<JoinHandle<()>>);

impl Thread {
    fn named(name: &str) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let wait = move || {
            // Nothing is ever sent: the end of the channel is the end of the thread.
            let _ = ended.recv();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(wait).unwrap();
        Self(Some(end), Some(thread))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0 = None;
        self.1.take().unwrap().join().unwrap();
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Left(std::path::PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

type Leak = Box<dyn Any>;

/// Starts a host, plants what `plant` gives, and ends the host.
async fn end_with(home: &Home, role: Role, plant: impl FnOnce() -> Vec<Leak>) -> Receipt {
    let options = HostOptions { config_files: vec![], ..HostOptions::new(home.clone(), role) };
    let host = host::start(options).await.unwrap();
    let _leaks = plant();
    host.stop(Reason::Person).await
}

fn unexplained(receipt: &Receipt) -> Vec<(&str, &str)> {
    let of = |check: &localport_core::receipt::Check| check.unexplained.len();
    assert!(receipt.is_clean() == (receipt.checks.iter().map(of).sum::<usize>() == 0));
    receipt
        .checks
        .iter()
        .flat_map(|check| check.unexplained.iter().map(|name| (check.what.as_str(), name.as_str())))
        .collect()
}

/// S3.3, S3.4: a forgotten descriptor, socket, child, thread and file are each named in
/// the receipt of a real host; a clean end has none, also right after a leaking one.
/// Beside a toolkit only what is recognisably ours counts.
#[test]
fn s3_3_a_planted_leak_of_each_kind_is_named_in_the_receipt() {
    let dir = tempfile::Builder::new().prefix("lp").tempdir().unwrap();
    let home = Home::under(dir.path(), dir.path().to_owned());
    let other = dir.path().join("somewhere");
    File::create(&other).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(RUNTIME_THREAD)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let receipt = end_with(&home, Role::Headless, Vec::new).await;
        assert_eq!(unexplained(&receipt), []);
        let whats: Vec<&str> = receipt.checks.iter().map(|check| check.what.as_str()).collect();
        assert_eq!(whats, CHECKS);
        // The process itself has descriptors and threads: a look that saw none is none.
        assert!(receipt.checks[0].start > 2 && receipt.checks[3].start > 1, "{receipt:#?}");

        for what in CHECKS {
            let mut name = String::new();
            let receipt = end_with(&home, Role::Headless, || {
                let (leak, contains) = plant(what, &home, &other);
                name = contains;
                vec![leak]
            })
            .await;
            let named = unexplained(&receipt);
            assert!(
                named.len() == 1 && named[0].0 == what && named[0].1.contains(&name),
                "{what} {name}: {receipt:#?}"
            );
            let receipt = end_with(&home, Role::Headless, Vec::new).await;
            assert_eq!(unexplained(&receipt), [], "after a leak of {what}");
        }

        while_it_runs(&home, &other).await;
        shared(&home, &other).await;
        a_hundred_times(&home).await;
    });
}

/// Forgets one thing of the kind; gives what its name must contain.
fn plant(what: &str, home: &Home, other: &Path) -> (Leak, String) {
    match what {
        "descriptors" => (Box::new(File::open(other).unwrap()), other.display().to_string()),
        "sockets" => {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let name = format!("tcp {}, listening", socket.local_addr().unwrap());
            (Box::new(socket), name)
        }
        "children" => {
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let name = format!("process {} (sleep)", child.id());
            (Box::new(Process(child)), name)
        }
        "threads" => (Box::new(Thread::named("forgotten")), "forgotten (".to_owned()),
        _ => {
            let dir = home.runtime.join("lp-forgotten");
            fs::create_dir(&dir).unwrap();
            (Box::new(Left(dir.clone())), dir.display().to_string())
        }
    }
}

/// S3.3: also while a host runs, with forwards that try and clients that wait.
async fn while_it_runs(home: &Home, other: &Path) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    drop(socket);
    let file = home.state.join("forwards.yaml");
    let text = format!(
        "version: \"1.0\"\nservices:\n  - {{name: a, technology: ssh, local_port: {port}, \
         remote_port: 1, connection: {{host: 127.0.0.1, port: 1}}}}\n"
    );
    fs::write(&file, text).unwrap();
    let options = HostOptions {
        config_files: vec![file.clone()],
        ..HostOptions::new(home.clone(), Role::Headless)
    };
    let host = host::start(options).await.unwrap();
    let client = localport_engine::control::client::Client::new(home);
    let named = async || {
        let answer: serde_json::Value = client.get("/v1/resources/verify").await.unwrap();
        let checks = answer["checks"].as_array().unwrap().clone();
        assert_eq!(checks.len(), CHECKS.len(), "{answer:#}");
        let of = |check: &serde_json::Value| {
            let what = check["what"].as_str().unwrap().to_owned();
            let names = check["unexplained"].as_array().unwrap().clone();
            names.into_iter().map(move |name| (what.clone(), name.as_str().unwrap().to_owned()))
        };
        checks.iter().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(named().await, []);
    for what in CHECKS {
        let (leak, name) = plant(what, home, other);
        let found = named().await;
        assert!(
            found.len() == 1 && found[0].0 == what && found[0].1.contains(&name),
            "{what} {name}: {found:#?}"
        );
        drop(leak);
        assert_eq!(named().await, [], "without {what}");
    }
    // Both ends of this one are in this process, and only one of them is the host's.
    let held = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let own = held.local_addr().unwrap().to_string();
    let found = named().await;
    assert!(found.len() == 1 && found[0].1.starts_with(&format!("tcp {own} with")), "{found:?}");
    drop(held);
    host.stop(Reason::Person).await;
    fs::remove_file(file).unwrap();
}

/// S1.4, S2.3: a hundred starts and stops in one process leave no descriptor, thread or
/// task more than the first.
async fn a_hundred_times(home: &Home) {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut first = None;
    for round in 0..100 {
        let receipt = end_with(home, Role::Headless, Vec::new).await;
        assert_eq!(unexplained(&receipt), [], "round {round}");
        // The history is closed behind the end, and a task that has just ended is counted
        // until its worker has cleared it away.
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let open = descriptors();
            let most = *first.get_or_insert(usize::MAX);
            let is_closed = !open.iter().any(|path| path.starts_with(&home.state));
            if is_closed && open.len() <= most && tasks() == 0 {
                first = Some(open.len().min(most));
                break;
            }
            assert!(Instant::now() < end, "round {round}: {} tasks, {open:#?}", tasks());
            tokio::task::yield_now().await;
        }
    }
    // Threads for blocking work come with the work and go when they have none.
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    assert!(count("task") <= workers + 20, "{} threads", count("task"));
}

/// What is open, as the system names it.
fn descriptors() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
}

async fn shared(home: &Home, other: &Path) {
    let (theirs, ours) = (other.to_owned(), home.state.join("kept"));
    let receipt = end_with(home, Role::Desktop, move || {
        let theirs: Vec<Leak> = vec![
            Box::new(File::open(theirs).unwrap()),
            Box::new(UnixStream::pair().unwrap()),
            Box::new(Process(Command::new("sleep").arg("60").spawn().unwrap())),
            Box::new(Thread::named("gmain")),
        ];
        theirs
    })
    .await;
    assert_eq!(unexplained(&receipt), []);
    let receipt = end_with(home, Role::Desktop, move || {
        let mut child = Command::new("sleep");
        child.arg("60").env("LOCALPORT_CHILD", "token");
        let ours: Vec<Leak> = vec![
            Box::new(File::create(ours).unwrap()),
            Box::new(TcpListener::bind("127.0.0.1:0").unwrap()),
            Box::new(Process(child.spawn().unwrap())),
            Box::new(Thread::named("lp-forgotten")),
        ];
        ours
    })
    .await;
    let named: Vec<&str> = unexplained(&receipt).into_iter().map(|(what, _)| what).collect();
    assert_eq!(named, ["descriptors", "sockets", "children", "threads"], "{receipt:#?}");
}
