//! What an engine that was killed leaves behind is ended by the next start.

use super::*;
use localport_core::journal::{Entry, Past, Process, format, replay};
use localport_core::time::Timestamp;
use localport_engine::journal::JournalFile;
use localport_engine::process::{ChildSpec, Children, sweep};
use std::process::{Command, Stdio};

/// Set for the process that plays the engine to be killed.
const VICTIM: &str = "LOCALPORT_TEST_VICTIM_HOME";

/// Item 4, S7.3: `kill -9` of the engine leaves no `ssh` and no directory: the operating
/// system ends the process, the next start removes the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_leaves_no_stray() {
    let sshd = Sshd::start();
    let home = tempfile::tempdir().unwrap();
    let places = Home::under(home.path(), home.path().to_owned());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["strays::the_engine_that_is_killed", "--exact", "--nocapture"])
        .env(VICTIM, home.path())
        .env("LOCALPORT_TEST_PORT", sshd.port().to_string())
        .env("LOCALPORT_TEST_DIR", sshd.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the victim is logged in", || sshd.logins() == 1).await;
    let child = eventually_child(victim.id()).await;
    assert!(home.path().join("run").read_dir().unwrap().count() > 0);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let (journal, past) = opened(&places);
    sweep(&places, &past, &journal).await;
    assert!(!is_running(child), "the ssh of a dead engine still runs");
    assert_eq!(home.path().join("run").read_dir().unwrap().count(), 0);
    assert_eq!(journal.finish(true).await, None);
    let (_, past) = opened(&places);
    assert_eq!((past.children.len(), past.files.len()), (0, 0));
}

/// Plays the engine above; alone it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_that_is_killed() {
    let Some(home) = std::env::var_os(VICTIM) else { return };
    let dir = std::path::PathBuf::from(std::env::var_os("LOCALPORT_TEST_DIR").unwrap());
    let port = std::env::var("LOCALPORT_TEST_PORT").unwrap().parse().unwrap();
    let places = Home::under(home.as_ref(), dir.clone());
    places.create().unwrap();
    let registry = Registry::default();
    let extra_args = vec!["-F".into(), dir.join("ssh_config").into()];
    let options = SshOptions { extra_args, ..SshOptions::default() };
    let (journal, _) = opened(&places);
    let adapter = SshAdapter::new(&registry, &places, journal, options);
    let target = Target::Ssh(SshTarget {
        host: "127.0.0.1".into(),
        user: None,
        port: Some(port),
        key_file: Some(dir.join("user_key")),
        password: None,
        remote_host: "127.0.0.1".into(),
        remote_port: 80,
    });
    let tasks = Tasks::new("victim", &registry);
    let (notes, _) = mpsc::channel(1);
    let scope = SessionScope { forward: "victim".into(), tasks, notes };
    let _session = adapter.open(&target, scope).await.unwrap();
    std::future::pending::<()>().await;
}

/// A child that survived its engine is known by its token, its own children too; a
/// process that merely has the number is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_stray_is_known_by_its_token_and_never_by_its_number_alone() {
    let home = tempfile::tempdir().unwrap();
    let places = Home::under(home.path(), home.path().to_owned());
    places.create().unwrap();
    let shell = |variable: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 300 & wait"]).env("LOCALPORT_CHILD", variable);
        command.spawn().unwrap()
    };
    let (mut stray, mut bystander) = (shell("stray-token"), shell("another-token"));
    let dir = places.runtime.join("lp-stray");
    std::fs::create_dir(&dir).unwrap();
    let elsewhere = home.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    // As a host with a number and a start that nobody has wrote it.
    let gone = Process { pid: 4_194_304, started: Some("gone:1".into()) };
    let child = |token: &str, pid: u32, dir: &std::path::Path| {
        [
            Entry::ChildIntended {
                token: token.into(),
                program: "ssh".into(),
                dir: Some(dir.to_owned()),
                host: gone.clone(),
            },
            Entry::ChildStarted {
                token: token.into(),
                process: Process { pid, started: started(pid) },
            },
        ]
    };
    let entries = child("stray-token", stray.id(), &dir).into_iter().chain(child(
        "third-token",
        bystander.id(),
        &elsewhere,
    ));
    let bytes: Vec<u8> = entries.filter_map(|entry| format::encode(&entry)).flatten().collect();
    std::fs::write(places.journal(), bytes).unwrap();
    eventually("both shells have their child", || {
        let all = sshd::parents();
        [stray.id(), bystander.id()].iter().all(|it| all.iter().any(|(_, of)| of == it))
    })
    .await;
    let (journal, past) = opened(&places);
    let ended = sweep(&places, &past, &journal).await;
    assert_eq!(ended.len(), 2, "the shell and its sleep: {ended:?}");
    assert!(ended.iter().any(|it| it.pid == stray.id()));
    stray.wait().unwrap();
    assert!(!dir.exists());
    assert!(elsewhere.exists(), "a directory that is not ours by its name");
    assert_eq!(bystander.try_wait().unwrap(), None, "a bystander was ended");
    assert_eq!(journal.finish(true).await, None);
    assert_eq!(opened(&places).1.children.len(), 0, "and is forgotten");
    let all = sshd::parents();
    for (pid, _) in all.iter().filter(|(_, of)| *of == bystander.id()) {
        sshd::signal(*pid, rustix::process::Signal::KILL);
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// The children of an engine that runs are nobody's strays.
#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_living_engine_are_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let places = Home::under(home.path(), home.path().to_owned());
    places.create().unwrap();
    let tasks = Tasks::new("test", &Registry::default());
    let (journal, _) = opened(&places);
    let children = Children::new(journal.clone(), tasks.clone());
    let (child, _lines) = children.spawn(sleeper("exec sleep 300")).await.unwrap();
    journal.ahead(vec![Entry::HostReady]).await;
    let past = understood(&places);
    assert_eq!(past.children.len(), 1);
    assert_eq!(sweep(&places, &past, &journal).await, []);
    assert!(is_running(child.pid()));
    assert!(!child.end(Duration::from_secs(5)).await, "it had to be killed");
    tasks.wait().await;
}

/// Item 4: asked first, killed when that does not help, the group and all.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_listen_is_killed_with_its_group() {
    let registry = Registry::default();
    let tasks = Tasks::new("test", &registry);
    let children = Children::new(Journal::nowhere(), tasks.clone());
    let stubborn = "trap '' TERM; echo ready >&2; sleep 300 & wait; sleep 300";
    let (child, mut lines) = children.spawn(sleeper(stubborn)).await.unwrap();
    assert_eq!(timeout(DEADLINE, lines.recv()).await.unwrap().unwrap(), "ready");
    eventually("it has a child", || sshd::parents().iter().any(|(_, of)| *of == child.pid())).await;
    let grandchild = sshd::parents().into_iter().find(|(_, of)| *of == child.pid()).unwrap().0;
    assert!(child.end(Duration::from_millis(200)).await, "it ended by itself");
    eventually("the grandchild ends", || !is_running(grandchild)).await;
    tasks.wait().await;
    assert!(registry.list().is_empty());
}

/// The journal as a start opens it.
fn opened(places: &Home) -> (Journal, Past) {
    let medium = Box::new(JournalFile::new(places.journal()));
    Journal::open(medium, &Registry::default(), Timestamp(1))
}

/// The journal as it lies there.
fn understood(places: &Home) -> Past {
    replay(format::decode(&std::fs::read(places.journal()).unwrap()).entries)
}

fn sleeper(script: &str) -> ChildSpec {
    ChildSpec {
        name: "sleeper".into(),
        owner: "test".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: Vec::new(),
        dir: None,
    }
}

async fn eventually_child(parent: u32) -> u32 {
    let find = || sshd::parents().into_iter().find(|(_, of)| *of == parent).map(|(pid, _)| pid);
    eventually("it has a child", || find().is_some()).await;
    find().unwrap()
}

/// Whether it runs; one that only waits to be reaped does not.
fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        == Some(false)
}

fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.to_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{}:{ticks}", boot.trim()))
}
