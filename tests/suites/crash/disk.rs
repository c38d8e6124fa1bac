//! A disk that fails under a host that runs: traffic and the end go on, the loss is said.

use localport_tests::host::{DEADLINE, Running, Sandbox, binary};
use localport_tests::servers::echo_threads;
use localport_tests::sshd::Sshd;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Two forwards over a real server.
fn scene() -> (Sshd, Sandbox) {
    let sshd = Sshd::start();
    let port = echo_threads();
    let sandbox = Sandbox::behind(&sshd, &[("kept", port), ("other", port)]);
    (sshd, sandbox)
}

fn serving(status: &Value) -> bool {
    status["forwards"]
        .as_array()
        .unwrap()
        .iter()
        .any(|forward| forward["name"] == "kept" && forward["word"] == "serving")
}

fn client(status: &Value) -> TcpStream {
    let client = TcpStream::connect(status["forwards"][0]["local"].as_str().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

fn echoes(client: &mut TcpStream, text: &[u8]) {
    client.write_all(text).unwrap();
    let mut answer = vec![0; text.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, text);
}

/// Traffic, commands and new clients go on while nothing can be written.
fn goes_on(sandbox: &Sandbox, open: &mut TcpStream) {
    let begun = Instant::now();
    assert_eq!(sandbox.run(["stop", "other"]).code, Some(0));
    let started = sandbox.run(["start", "other"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    echoes(open, b"the old client");
    echoes(&mut client(&sandbox.until("it serves", serving)), b"a new client");
}

fn said(sandbox: &Sandbox) -> bool {
    let events = sandbox.run(["events", "--json", "-n", "1000"]).out;
    events.contains("the journal cannot be written")
}

/// Ends the host in order, and gives what its receipt remarks.
fn remarks(sandbox: &Sandbox, host: Running) -> String {
    let answer = sandbox.run(["quit", "--wait", "--json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(host.end().code, Some(0));
    answer.json()["stopped"]["remarks"].to_string()
}

/// S8.4: no file may grow any more, as on a full disk or at the end of a quota.
#[test]
fn s8_4_when_no_file_can_grow_all_goes_on_and_the_loss_is_said() {
    let (_sshd, sandbox) = scene();
    let host = sandbox.host();
    let mut open = client(&sandbox.until("it serves", serving));
    echoes(&mut open, b"before");
    let limit = format!("--pid={}", host.pid());
    assert!(Command::new("prlimit").args([&limit, "--fsize=0"]).status().unwrap().success());
    goes_on(&sandbox, &mut open);
    assert!(said(&sandbox), "{}", sandbox.run(["events"]).out);
    drop(open);
    let remarks = remarks(&sandbox, host);
    assert!(remarks.contains("the journal cannot be written"), "{remarks}");
    let (host, found) = sandbox.host_and_found();
    assert_eq!(found, None, "it was no crash");
    sandbox.until("it serves again", serving);
    drop(host);
}

/// The state directory of `sandbox` on a disk of its own, which only the host sees.
struct Mounted {
    host: Running,
    state: PathBuf,
}

/// None where this machine lets nobody mount.
fn mounted(sandbox: &Sandbox) -> Option<Mounted> {
    let state = sandbox.path().join("lp/state");
    fs::create_dir_all(&state).unwrap();
    let probe = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&state)
        .output();
    match probe {
        Ok(output) if output.status.success() => {}
        other => {
            println!("skipped: this machine lets nobody mount: {other:?}");
            return None;
        }
    }
    let script = "mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$1\" run --json";
    let mut command = sandbox.command_of("unshare".as_ref());
    command.args(["--mount", "sh", "-c", script]).arg(&state).arg(binary());
    let mut host = Running::new(&mut command);
    let line = host.line();
    assert!(line.contains("\"started\""), "{line}");
    let state = PathBuf::from(format!("/proc/{}/root{}", host.pid(), state.display()));
    Some(Mounted { host, state })
}

impl Mounted {
    fn mount(&self, arguments: &[&str]) {
        let target = format!("--target={}", self.host.pid());
        let mut command = Command::new("nsenter");
        let output = command.args([&target, "--mount", "mount"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// S8.4: a disk without any room, and then with room again.
#[test]
fn s8_4_a_full_disk_stops_nothing_and_is_made_up_for_when_there_is_room() {
    let (_sshd, sandbox) = scene();
    let Some(mounted) = mounted(&sandbox) else { return };
    let mut open = client(&sandbox.until("it serves", serving));
    let fill = mounted.state.join("fill");
    let mut file = OpenOptions::new().append(true).create(true).open(&fill).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    // The last page of the journal may still have room: it is filled by its own entries.
    let end = Instant::now() + DEADLINE;
    while !said(&sandbox) {
        assert!(Instant::now() < end, "nothing is said");
        goes_on(&sandbox, &mut open);
    }
    drop(file);
    fs::remove_file(&fill).unwrap();
    assert_eq!(sandbox.run(["stop", "other"]).code, Some(0));
    let journal = fs::read(mounted.state.join("journal")).unwrap();
    let past =
        localport_core::journal::replay(localport_core::journal::format::decode(&journal).entries);
    assert!(!past.switches.wanted("other", true), "what was missed is made up for");
    assert_eq!(past.children.len(), 1, "{past:?}");
    drop(open);
    let remarks = remarks(&sandbox, mounted.host);
    assert!(!remarks.contains("journal"), "nothing of the journal is lost: {remarks}");
}

/// S8.4: a state directory that became read-only: no new file, none removed.
#[test]
fn s8_4_a_read_only_state_directory_stops_neither_traffic_nor_the_end() {
    let (_sshd, sandbox) = scene();
    let Some(mounted) = mounted(&sandbox) else { return };
    let mut open = client(&sandbox.until("it serves", serving));
    let state = sandbox.path().join("lp/state");
    let state = state.to_str().unwrap();
    mounted.mount(&["--bind", state, state]);
    mounted.mount(&["-o", "remount,bind,ro", state]);
    assert!(fs::write(mounted.state.join("probe"), b"x").is_err(), "it is read-only");
    // Until the journal is due for its short form, which needs a new file.
    let journal = mounted.state.join("journal");
    let body = json!({ "names": ["other"] }).to_string();
    let end = Instant::now() + DEADLINE * 4;
    while fs::metadata(&journal).unwrap().len() < 66 * 1024 {
        assert!(Instant::now() < end, "{} bytes", fs::metadata(&journal).unwrap().len());
        for word in ["stop", "start"] {
            let answer = sandbox.http(&format!("POST /v1/{word}"), &body);
            assert!(matches!(answer.status, 200 | 409), "{answer:?}");
        }
    }
    goes_on(&sandbox, &mut open);
    drop(open);
    remarks(&sandbox, mounted.host);
}
