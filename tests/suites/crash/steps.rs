//! A host is killed at each write to its journal; the next start finishes the work.

use localport_core::journal::{Course, Entry, Past, format, replay};
use localport_core::shutdown::Stage;
use localport_tests::host::{DEADLINE, Running, Sandbox};
use localport_tests::servers::echo_threads;
use localport_tests::sshd::{Sshd, parents, signal};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Two forwards over one real server: one is switched off by a person, one goes on.
struct Scene {
    sshd: Sshd,
    sandbox: Sandbox,
}

impl Scene {
    fn new() -> Self {
        let sshd = Sshd::start();
        let port = echo_threads();
        let sandbox = Sandbox::behind(&sshd, &[("stays", port), ("goes", port)]);
        Self { sshd, sandbox }
    }

    fn account(&self) -> PathBuf {
        self.sandbox.path().join("account")
    }

    /// Runs the host that dies with the record `last` through its life: start, switch
    /// `goes` off, quit.
    fn live(&self, last: &str, how: &str) {
        let mut command = self.sandbox.command_of(Path::new(env!("CARGO_BIN_EXE_crash-host")));
        command.args([last, how]).env("CRASH_ACCOUNT", self.account());
        let mut host = Running::new(&mut command);
        if host.line_or_end().is_some() {
            self.serve();
        }
        let said = host.end();
        assert!(said.err.ends_with("ended by signal 9"), "{last} was never written: {said:?}");
    }

    /// Every command may find that the host is dead already.
    fn serve(&self) {
        let is_up = |status: &Value| word(status, "stays") == "serving";
        if self.sandbox.until_or_dead("it serves", is_up).is_none() {
            return;
        }
        self.sandbox.run(["stop", "goes"]);
        self.sandbox.run(["quit", "--wait"]);
    }

    /// What the killed host had written down in full.
    fn written(&self) -> Past {
        let bytes = fs::read(self.account()).unwrap_or_default();
        let read = format::decode(&bytes);
        assert_eq!(read.damaged, 0);
        replay(read.entries)
    }

    /// Starts the product again and holds it to what was written.
    fn again(&self) {
        let past = self.written();
        let strays = self.processes();
        let (next, found) = self.sandbox.host_and_found();
        for stray in strays {
            assert!(!self.processes().contains(&stray), "`{stray}` is left; {past:?}");
        }
        match (&past.last, found) {
            (None, found) => assert_eq!(found, None, "nothing was written, nothing is known"),
            (Some(life), found) => told(&life.course, found.as_deref()),
        }
        let goes_on = past.switches.wanted("goes", true);
        let status = self.sandbox.until("what should run runs", |status| {
            word(status, "stays") == "serving"
                && word(status, "goes") == if goes_on { "serving" } else { "off" }
        });
        assert_eq!(status["pid"], next.pid());
        assert_eq!(self.processes().len(), 1, "one `ssh`, not two");
        assert_eq!(dirs(&self.sandbox).len(), 1, "and one private directory");
        assert_eq!(self.sandbox.run(["quit", "--wait"]).code, Some(0));
        assert_eq!(next.end().code, Some(0));
        assert_eq!(self.processes(), BTreeSet::new());
        assert_eq!(dirs(&self.sandbox), Vec::<PathBuf>::new());
        let (last, found) = self.sandbox.host_and_found();
        assert_eq!(found, None, "an ordinary start says nothing");
        assert_eq!(self.sandbox.run(["quit", "--wait"]).code, Some(0));
        last.end();
    }

    /// The processes that carry a child's token and this sandbox's home.
    fn processes(&self) -> BTreeSet<u32> {
        let home = self.sandbox.path().join("lp");
        parents().into_iter().map(|(pid, _)| pid).filter(|pid| is_ours(*pid, &home)).collect()
    }
}

fn is_ours(pid: u32, home: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let has = |wanted: &str| {
        environment.split(|byte| *byte == 0).any(|one| one.starts_with(wanted.as_bytes()))
    };
    has("LOCALPORT_CHILD=") && has(&format!("LOCALPORT_HOME={}", home.display()))
}

fn dirs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let run = fs::read_dir(sandbox.path().join("lp/run")).unwrap();
    let names = run.flatten().map(|entry| entry.path());
    names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("lp-")).collect()
}

fn word(status: &Value, name: &str) -> String {
    let forwards = status["forwards"].as_array().unwrap();
    let forward = forwards.iter().find(|forward| forward["name"] == name);
    forward.and_then(|forward| forward["word"].as_str()).unwrap_or_default().to_owned()
}

/// The sentence, against what the host had written last.
fn told(course: &Course, found: Option<&str>) {
    let expected = match course {
        Course::Ended { .. } => return assert_eq!(found, None),
        Course::Starting => "while it started;",
        Course::Running => "while it ran;",
        Course::Ending { stage: None, .. } => "while it began to end;",
        Course::Ending { stage: Some(Stage::StopNewWork), .. } => "ports were closing;",
        Course::Ending { stage: Some(Stage::CompleteCurrent), .. } => "were finishing;",
        Course::Ending { stage: Some(Stage::CancelTasks), .. } => "sessions were ending;",
        Course::Ending { stage: Some(Stage::ForceCleanup), .. } => "were being released;",
    };
    let found = found.unwrap_or_else(|| panic!("nothing was said of {course:?}"));
    assert!(found.starts_with("The last LocalPort was killed while "), "{found}");
    assert!(found.contains(expected), "{found}: {course:?}");
}

/// Every record of a life, in its order.
const RECORDS: [&str; 14] = [
    "host_began",
    "file_made",
    "child_intended",
    "child_started",
    "host_ready",
    "switched",
    "end_begun",
    "stop_new_work",
    "complete_current",
    "cancel_tasks",
    "child_ended",
    "file_gone",
    "force_cleanup",
    "host_ended",
];

/// Kills a host at each record in turn; the stages that were entered on the way.
fn at_each_record(how: &str) -> BTreeSet<Stage> {
    let mut stages = BTreeSet::new();
    for record in RECORDS {
        let scene = Scene::new();
        scene.live(record, how);
        if let Some(Course::Ending { stage: Some(stage), .. }) =
            scene.written().last.map(|life| life.course)
        {
            stages.insert(stage);
        }
        scene.again();
        drop(scene.sshd);
    }
    stages
}

/// S8.4, S6.1, G5: killed when a step was announced and had not begun.
#[test]
fn s8_4_killed_after_each_record_the_next_start_finishes_the_work() {
    assert_eq!(at_each_record("after"), BTreeSet::from(Stage::ALL));
}

/// S8.4: killed before the announcement of each step lay on the disk.
#[test]
fn s8_4_killed_before_each_record_the_next_start_finishes_the_work() {
    assert_eq!(at_each_record("before"), BTreeSet::from(Stage::ALL));
}

/// S8.4: killed in the middle of each write.
#[test]
fn s8_4_killed_within_each_record_the_next_start_finishes_the_work() {
    assert_eq!(at_each_record("torn"), BTreeSet::from(Stage::ALL));
}

/// S7.3, S6.1: an `ssh` that survives its host, because it is stopped and hears no
/// signal, is ended by the next start, which says so.
#[test]
fn s7_3_an_ssh_that_outlives_its_host_is_ended_and_counted() {
    let scene = Scene::new();
    let host = scene.sandbox.host();
    scene.sandbox.until("it serves", |status| word(status, "stays") == "serving");
    let ssh = scene.processes();
    assert_eq!(ssh.len(), 1);
    for pid in &ssh {
        signal(*pid, Signal::STOP);
    }
    host.signal(Signal::KILL);
    host.end();
    assert_eq!(scene.processes(), ssh, "it is left");
    let (next, found) = scene.sandbox.host_and_found();
    assert_eq!(
        found.as_deref(),
        Some(
            "The last LocalPort was killed while it ran; 1 ssh process was killed, \
             2 forwards go on"
        )
    );
    assert!(scene.processes().is_disjoint(&ssh));
    scene.sandbox.until("it serves again", |status| word(status, "stays") == "serving");
    let events = scene.sandbox.run(["events", "--json", "-n", "1000"]).out;
    assert!(events.contains("note") && events.contains("was killed while it ran"), "{events}");
    let logs = scene.sandbox.run(["logs", "-n", "1000"]).out;
    assert!(logs.contains("The last LocalPort was killed while it ran"), "{logs}");
    drop(next);
}

/// G5: many lives that end by `kill -9` at once after another, each start is whole.
#[test]
fn g5_killed_again_and_again_every_start_serves() {
    let scene = Scene::new();
    for round in 0..5 {
        let (host, found) = scene.sandbox.host_and_found();
        assert_eq!(found.is_some(), round > 0, "{found:?}");
        let begun = Instant::now();
        scene.sandbox.until("it serves", |status| word(status, "goes") == "serving");
        assert!(begun.elapsed() < DEADLINE + Duration::from_secs(1));
        host.signal(Signal::KILL);
        host.end();
    }
    let journal = fs::read(scene.sandbox.path().join("lp/state/journal")).unwrap();
    let read = format::decode(&journal);
    let began = |entry: &&Entry| matches!(entry, Entry::HostBegan { .. });
    assert!(read.entries.iter().filter(began).count() <= 2, "the short form at each start");
}
