//! A configuration that is edited while the real host runs: saved in every way that
//! editors have, by command, by HUP, while it quits.

use localport_tests::host::{DEADLINE, Running, Sandbox};
use localport_tests::ports::free_ports;
use localport_tests::servers::echo_threads;
use localport_tests::sshd::Sshd;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Forwards to a port where nothing listens: their own ports are open all the same.
fn config(forwards: &[(&str, u16)]) -> String {
    let mut text = String::from("version: \"1.0\"\nservices:\n");
    for (name, port) in forwards {
        text.push_str(&format!(
            "  - {{name: {name}, technology: ssh, local_port: {port}, remote_port: 1, \
             connection: {{host: 127.0.0.1, port: 1}}}}\n"
        ));
    }
    text
}

fn save_by_rename(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, file).unwrap();
}

fn names(status: &Value) -> Vec<&str> {
    let forwards = status["forwards"].as_array().unwrap();
    forwards.iter().map(|forward| forward["name"].as_str().unwrap()).collect()
}

fn until_named(sandbox: &Sandbox, wanted: &[&str]) {
    sandbox.until(&format!("the forwards {wanted:?}"), |status| {
        names(status) == wanted
            && status["forwards"].as_array().unwrap().iter().all(|f| f["listener"] != "closed")
    });
}

/// Waits until the host says that a newer configuration is not in force, and why.
fn until_pending(sandbox: &Sandbox, why: &str) -> Value {
    let end = Instant::now() + DEADLINE;
    let mut events = sandbox.follow("/v1/events?limit=0", "");
    loop {
        let view = sandbox.http("GET /v1/config", "").json();
        if view["pending"]["why"] == why {
            return view;
        }
        assert!(Instant::now() < end, "never {why}: {view:#}");
        // The next event, whichever it is, may be the one.
        events.by_ref().next().expect("the host runs");
    }
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn quit(sandbox: &Sandbox, host: Running) {
    let said = sandbox.run(["quit", "--wait"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(host.end().code, Some(0));
}

/// S4.3: the command says what changes, does it, and says what it did.
#[test]
fn s4_3_reload_applies_what_plan_says() {
    let ports = free_ports(3);
    let sandbox = Sandbox::with_config(&config(&[("gone", ports[0]), ("kept", ports[1])]));
    let host = sandbox.host();
    assert_eq!(sandbox.run(["reload"]).out, "nothing changed\n");
    let moved = config(&[("kept", ports[1]), ("new", ports[2])]);
    fs::write(sandbox.config(), &moved).unwrap();
    let said = sandbox.run(["config", "plan", "--json"]).json();
    assert_eq!(said["plan"]["removed"][0], "gone");
    assert_eq!(said["plan"]["added"][0]["name"], "new");
    let said = sandbox.run(["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(is_open(ports[2]) && is_open(ports[1]), "{said:?}");
    until_named(&sandbox, &["kept", "new"]);
    assert!(!is_open(ports[0]));
    quit(&sandbox, host);
}

/// S4.3: a saved file is read by itself, however it is saved.
#[test]
fn s4_3_a_saved_file_is_read_by_itself() {
    let ports = free_ports(2);
    let (one, both) = (config(&[("a", ports[0])]), config(&[("a", ports[0]), ("b", ports[1])]));
    let sandbox = Sandbox::new();
    let host = sandbox.host();
    // A file that appears where there was none.
    fs::write(sandbox.config(), &one).unwrap();
    until_named(&sandbox, &["a"]);
    save_by_rename(&sandbox.config(), &both);
    until_named(&sandbox, &["a", "b"]);
    fs::write(sandbox.config(), &one).unwrap();
    until_named(&sandbox, &["a"]);
    // Links of links, of which one in the middle is turned.
    for (dir, text) in [("one", &one), ("two", &both)] {
        fs::create_dir(sandbox.path().join(dir)).unwrap();
        fs::write(sandbox.path().join(dir).join("c.yaml"), text).unwrap();
    }
    symlink("two", sandbox.path().join("data")).unwrap();
    symlink("data/c.yaml", sandbox.path().join("link")).unwrap();
    fs::rename(sandbox.path().join("link"), sandbox.config()).unwrap();
    until_named(&sandbox, &["a", "b"]);
    symlink("one", sandbox.path().join("data.new")).unwrap();
    fs::rename(sandbox.path().join("data.new"), sandbox.path().join("data")).unwrap();
    until_named(&sandbox, &["a"]);
    // The file behind the links is edited in place.
    fs::write(sandbox.path().join("one/c.yaml"), &both).unwrap();
    until_named(&sandbox, &["a", "b"]);
    quit(&sandbox, host);
}

/// S4.3: of a file that is written in steps only the last is read.
#[test]
fn s4_3_a_half_written_file_waits() {
    let ports = free_ports(3);
    let sandbox = Sandbox::with_config(&config(&[("a", ports[0])]));
    let host = sandbox.host();
    let whole = config(&[("a", ports[0]), ("b", ports[1]), ("c", ports[2])]);
    let mut file = fs::File::create(sandbox.config()).unwrap();
    for line in whole.split_inclusive('\n') {
        file.write_all(line.as_bytes()).unwrap();
        file.sync_all().unwrap();
        thread::sleep(Duration::from_millis(20)); // The pace of the writer, not a wait.
    }
    drop(file);
    until_named(&sandbox, &["a", "b", "c"]);
    let said = sandbox.run(["events", "-n", "500"]).out;
    assert_eq!(said.matches("configuration applied").count(), 1, "{said}");
    quit(&sandbox, host);
}

/// S4.2, S4.3: a file with an error changes nothing, and everybody is told.
#[test]
fn s4_3_an_invalid_file_changes_nothing_and_is_said() {
    let ports = free_ports(1);
    let good = config(&[("a", ports[0])]);
    let sandbox = Sandbox::with_config(&good);
    let host = sandbox.host();
    let bad =
        format!("{good}  - {{name: bad, technology: ssh, local_port: 99999, remote_port: 1}}\n");
    fs::write(sandbox.config(), bad).unwrap();
    let view = until_pending(&sandbox, "invalid");
    assert!(view["pending"]["sentence"].as_str().unwrap().contains("what ran before goes on"));
    assert!(view["diagnostics"].as_array().unwrap().len() > 1);
    assert!(is_open(ports[0]));
    let said = sandbox.run(["reload"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("localport.yaml:4:"), "{said:?}");
    assert!(said.err.contains("99999") && said.err.contains("hint:"), "{said:?}");
    fs::write(sandbox.config(), &good).unwrap();
    sandbox.run(["reload"]);
    assert_eq!(sandbox.http("GET /v1/config", "").json()["pending"], Value::Null);
    quit(&sandbox, host);
}

/// S1.1, S4.3: an emptied file is left alone when it is saved, and obeyed on HUP.
#[test]
fn s4_3_hup_reads_the_files_again() {
    let ports = free_ports(1);
    let sandbox = Sandbox::with_config(&config(&[("a", ports[0])]));
    let host = sandbox.host();
    fs::write(sandbox.config(), "version: \"1.0\"\nservices: []\n").unwrap();
    until_pending(&sandbox, "empty");
    assert!(is_open(ports[0]));
    host.signal(Signal::HUP);
    until_named(&sandbox, &[]);
    assert!(!is_open(ports[0]));
    quit(&sandbox, host);
}

/// S4.3: while it quits, the newest valid configuration is kept, said, and applied only
/// when the end is called off.
#[test]
fn s4_3_a_change_while_it_quits_is_kept_until_that_is_called_off() {
    let sshd = Sshd::start();
    let sandbox = Sandbox::behind(&sshd, &[("echo", echo_threads())]);
    let host = sandbox.host();
    let status = sandbox.until("serving", |s| s["forwards"][0]["state"] == "running");
    let local = status["forwards"][0]["local"].as_str().unwrap().to_owned();
    let mut client = TcpStream::connect(&local).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();

    assert_eq!(sandbox.run(["quit"]).code, Some(0));
    sandbox.until("draining", |s| s["phase"] == "draining");
    let before = fs::read_to_string(sandbox.config()).unwrap();
    let more = |name: &str| {
        let port = free_ports(1)[0];
        format!("{before}{}", config(&[(name, port)]).split_once("services:\n").unwrap().1)
    };
    save_by_rename(&sandbox.config(), &more("first"));
    until_pending(&sandbox, "ending");
    save_by_rename(&sandbox.config(), &more("second"));
    let said = sandbox.run(["reload"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("kept") && said.err.contains("quit --cancel"), "{said:?}");
    let status = sandbox.http("GET /v1/status", "").json();
    assert_eq!(names(&status), ["echo"], "nothing is applied while it quits");

    assert_eq!(sandbox.run(["quit", "--cancel"]).code, Some(0));
    until_named(&sandbox, &["echo", "second"]);
    assert_eq!(sandbox.http("GET /v1/config", "").json()["pending"], Value::Null);
    client.write_all(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    quit(&sandbox, host);
}

fn numbers(sandbox: &Sandbox) -> Vec<u64> {
    let history = sandbox.run(["config", "history", "--json"]).json();
    history.as_array().unwrap().iter().map(|entry| entry["number"].as_u64().unwrap()).collect()
}

/// S4.4: what was in force is kept with who and why, compared, and put back; S4.5: no
/// secret is shown on the way, and none is readable by others.
#[test]
fn s4_4_history_diff_and_rollback() {
    let ports = free_ports(2);
    let with = |forwards: &[(&str, u16)], password: &str| {
        config(forwards).replace("port: 1}", &format!("port: 1, password: {password}}}"))
    };
    let first = with(&[("a", ports[0])], "planted-one");
    let second = with(&[("a", ports[0]), ("b", ports[1])], "planted-two");
    let sandbox = Sandbox::with_config(&first);
    let host = sandbox.host();
    fs::write(sandbox.config(), &second).unwrap();
    assert_eq!(sandbox.run(["reload"]).code, Some(0));
    assert_eq!(numbers(&sandbox), [2, 1]);
    let history = sandbox.run(["config", "history", "--json"]).json();
    let by = |n: usize| history[n]["who"].as_str().unwrap().to_owned();
    assert_eq!((by(0), by(1)), ("command".to_owned(), "start".to_owned()));
    assert_eq!(history[0]["why"], "1 added, 1 changed");

    let mut said = vec![sandbox.run(["config", "history"]), sandbox.run(["config", "diff"])];
    assert!(said[1].out.contains("+ b"), "{said:?}");
    // An edit that was never in force is not lost either.
    fs::write(sandbox.config(), "services: [").unwrap();
    let back = sandbox.run(["config", "rollback"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.out.contains("is again as in `1`") && back.out.contains("- b"), "{back:?}");
    said.push(back);
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), first);
    until_named(&sandbox, &["a"]);
    let backups: Vec<_> = fs::read_dir(sandbox.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".bak-"))
        .collect();
    assert_eq!(fs::read_to_string(&backups[0]).unwrap(), "services: [");
    assert_eq!(numbers(&sandbox), [3, 2, 1]);
    said.push(sandbox.run(["config", "rollback", "2"]));
    until_named(&sandbox, &["a", "b"]);
    said.push(sandbox.run(["config", "rollback", "77"]));
    assert_eq!(said.last().unwrap().code, Some(2));
    quit(&sandbox, host);
    // Without a host, too.
    said.push(sandbox.run(["config", "rollback", "1"]));
    assert_eq!(fs::read_to_string(sandbox.config()).unwrap(), first);
    let logs = fs::read_to_string(sandbox.path().join("lp/state/logs/localport.log")).unwrap();
    let all = format!("{said:?}{logs}");
    assert!(!all.contains("planted"), "{all}");
}

/// S4.4: killed at any instant of a rollback, the file is the old one or the new one, the
/// next command goes on from there, and a host starts with it.
#[test]
fn s4_4_a_rollback_that_is_killed_leaves_the_old_or_the_new() {
    let ports = free_ports(2);
    let (one, two) = (config(&[("a", ports[0])]), config(&[("a", ports[0]), ("b", ports[1])]));
    let sandbox = Sandbox::with_config(&one);
    let host = sandbox.host();
    fs::write(sandbox.config(), &two).unwrap();
    assert_eq!(sandbox.run(["reload"]).code, Some(0));
    quit(&sandbox, host);
    for round in 0..60u64 {
        let target = if round % 2 == 0 { "1" } else { "2" };
        let mut back = sandbox.command().args(["config", "rollback", target]).spawn().unwrap();
        thread::sleep(Duration::from_micros(round * 400)); // The instant of the kill.
        let _ = back.kill();
        back.wait().unwrap();
        let text = fs::read_to_string(sandbox.config()).unwrap();
        assert!(text == one || text == two, "round {round}: {text:?}");
    }
    let host = sandbox.host();
    let text = fs::read_to_string(sandbox.config()).unwrap();
    until_named(&sandbox, if text == one { &["a"] } else { &["a", "b"] });
    assert_eq!(sandbox.run(["config", "rollback", "2"]).code, Some(0));
    until_named(&sandbox, &["a", "b"]);
    quit(&sandbox, host);
}

/// S4.4: a host that is killed while configurations come and go leaves a history that
/// can be read, and starts with what the file says.
#[test]
fn s4_4_a_host_killed_while_it_applies_starts_with_what_the_file_says() {
    let ports = free_ports(3);
    let sandbox = Sandbox::with_config(&config(&[("a", ports[0])]));
    for round in 0..8usize {
        let host = sandbox.host();
        let other = [("b", ports[1]), ("c", ports[2])][round % 2];
        save_by_rename(&sandbox.config(), &config(&[("a", ports[0]), other]));
        host.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(3 * round as u64)); // The instant of the kill.
        host.signal(Signal::KILL);
        host.end();
        let host = sandbox.host();
        until_named(&sandbox, &["a", other.0]);
        assert!(!numbers(&sandbox).is_empty());
        quit(&sandbox, host);
    }
}

/// S1.1, S4.3: the end may come at any instant of a reload: it is in order each time, no
/// port stays open, and the next start has what the file says.
#[test]
fn s4_3_a_term_at_any_instant_of_a_reload_ends_in_order() {
    let ports = free_ports(6);
    let seed = std::env::var("LOCALPORT_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    println!("LOCALPORT_CHAOS_SEED={state}");
    let files = [
        config(&[("a", ports[0]), ("b", ports[1]), ("c", ports[2])]),
        // One goes, one takes the port of another, one moves, one is new.
        config(&[("b", ports[0]), ("c", ports[3]), ("d", ports[4]), ("e", ports[5])]),
    ];
    let sandbox = Sandbox::with_config(&files[0]);
    for round in 0..60 {
        let (host, found) = sandbox.host_and_found();
        assert_eq!(found, None, "round {round}: the end before was in order");
        fs::write(sandbox.config(), &files[(round + 1) % 2]).unwrap();
        host.signal(Signal::HUP);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let instant = Duration::from_micros((state >> 33) % 8_000);
        thread::sleep(instant); // The instant of the signal.
        host.signal(Signal::TERM);
        let said = host.end();
        assert_eq!(said.code, Some(0), "round {round}, {instant:?}: {said:?}");
        let receipt: Value = serde_json::from_str(said.out.lines().last().unwrap()).unwrap();
        let receipt = &receipt["stopped"];
        assert_eq!(receipt["forced"], json!([]), "{receipt:#}");
        assert_eq!(receipt["faults"], json!([]), "{receipt:#}");
        assert!(ports.iter().all(|port| !is_open(*port)), "round {round}, {instant:?}");
    }
    let host = sandbox.host();
    until_named(&sandbox, &["a", "b", "c"]);
    quit(&sandbox, host);
}

/// S4.3: many saves in a row end with the last one, and who connects is never refused.
#[test]
fn s4_3_a_storm_of_saves_ends_with_the_last() {
    let ports = free_ports(4);
    let sandbox = Sandbox::with_config(&config(&[("kept", ports[0])]));
    let host = sandbox.host();
    let going = Arc::new(AtomicBool::new(true));
    let (go, kept) = (going.clone(), ports[0]);
    let visitors = thread::spawn(move || {
        let mut count = 0;
        while go.load(Ordering::Relaxed) {
            TcpStream::connect(("127.0.0.1", kept)).expect("never refused");
            count += 1;
            thread::sleep(Duration::from_millis(50)); // Twenty a second.
        }
        count
    });
    for round in 0..400usize {
        let other = format!("other-{}", round % 3);
        let text = config(&[(other.as_str(), ports[1 + round % 3]), ("kept", ports[0])]);
        save_by_rename(&sandbox.config(), &text);
        if round % 20 == 0 {
            host.signal(Signal::HUP);
        }
        if round % 50 == 0 {
            assert_eq!(sandbox.run(["reload"]).code, Some(0));
        }
    }
    save_by_rename(&sandbox.config(), &config(&[("last", ports[3]), ("kept", ports[0])]));
    until_named(&sandbox, &["last", "kept"]);
    assert!(is_open(ports[3]));
    going.store(false, Ordering::Relaxed);
    assert!(visitors.join().unwrap() > 0);
    quit(&sandbox, host);
}
