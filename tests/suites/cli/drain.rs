//! Parts that are drained and resumed, as the real binary, through a real sshd.

use crate::{keys, set};
use localport_tests::host::{DEADLINE, Sandbox, unreachable};
use localport_tests::sshd::Sshd;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Bytes of one transfer: more than every buffer on the way holds.
const SIZE: usize = 24 << 20;

/// What a transfer carries, so that a lost or doubled byte shows.
fn bytes() -> Vec<u8> {
    (0..SIZE).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A server that sends everything to each client: the first half at once, the second
/// when it is told to.
fn sender() -> (u16, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, gone): (Sender<()>, Receiver<()>) = channel();
    thread::spawn(move || {
        let all = bytes();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut first = [0; 1];
            // A probe connects and says nothing.
            if client.read(&mut first).unwrap_or(0) == 0 {
                continue;
            }
            let _ = client.write_all(&all[..SIZE / 2]);
            let _ = gone.recv();
            let _ = client.write_all(&all[SIZE / 2..]);
        }
    });
    (port, go)
}

fn word(status: &Value, index: usize) -> &str {
    status["forwards"][index]["word"].as_str().unwrap()
}

fn client(local: &str) -> TcpStream {
    let mut client = TcpStream::connect(local).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(b"!").unwrap();
    client
}

/// S8.3: a transfer that is open through drain and resume is whole; new clients are
/// refused in between and served after.
#[test]
fn s8_3_a_transfer_through_drain_and_resume_is_whole() {
    let sshd = Sshd::start();
    let (port, go) = sender();
    let sandbox = Sandbox::behind(&sshd, &[("files", port), ("other", port)]);
    let host = sandbox.host();
    let status = sandbox.until("it serves", |status| word(status, 0) == "serving");
    let local = status["forwards"][0]["local"].as_str().unwrap().to_owned();
    let mut first = client(&local);
    let mut got = vec![0; SIZE / 2];
    first.read_exact(&mut got).unwrap();

    let mut waiting = sandbox.spawn(["drain", "files", "--timeout", "5m", "--wait", "--json"]);
    let draining = sandbox
        .until("it drains", |status| status["forwards"][0]["drain"]["stage"] == "complete_current");
    assert_eq!(word(&draining, 0), "draining");
    let left = draining["forwards"][0]["drain"]["left_ms"].as_u64().unwrap();
    assert!(left > 200_000, "{left}");
    assert!(TcpStream::connect(&local).is_err(), "refused while it drains");

    let resumed = sandbox.run(["resume", "--all", "--json"]).json();
    assert_eq!(resumed, json!({ "forwards": ["files"], "message": null }));
    let receipt: Value = {
        let mut text = String::new();
        while serde_json::from_str::<Value>(&text).is_err() {
            text.push_str(&waiting.line());
        }
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(keys(&receipt), set(&["forwards", "message", "drained"]));
    let receipt = &receipt["drained"];
    assert_eq!(keys(receipt), set(&["forwards", "took_ms", "forced", "left", "resumed"]));
    assert_eq!(receipt["resumed"], json!(["files"]));
    assert_eq!(waiting.end().code, Some(0));
    sandbox.until("it serves again", |status| word(status, 0) == "serving");

    go.send(()).unwrap();
    first.read_to_end(&mut got).unwrap();
    assert!(got == bytes(), "{} bytes that are not what was sent", got.len());
    let mut second = client(&local);
    second.read_exact(&mut [0; 1024]).unwrap();
    drop((first, second, go));
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
}

/// S8.3: what does not end in its time is cut and named, with the exit code that says so;
/// what is drained says so, and an end without it is clean.
#[test]
fn s8_3_a_drain_cuts_after_its_time_and_names() {
    let sshd = Sshd::start();
    let (port, _go) = sender();
    let sandbox = Sandbox::behind(&sshd, &[("files", port)]);
    let host = sandbox.host();
    let status = sandbox.until("it serves", |status| word(status, 0) == "serving");
    let local = status["forwards"][0]["local"].as_str().unwrap().to_owned();
    let mut open = client(&local);
    open.read_exact(&mut [0; 1024]).unwrap();
    let said = sandbox.run(["drain", "--context", &context(&status), "--timeout=200ms", "--wait"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("files; cut: 1 open connection of files"), "{said:?}");
    let shown = sandbox.run(["status"]).out;
    assert!(shown.contains("1 drained") && shown.contains("drained by a person"), "{shown}");
    let again = sandbox.run(["drain", "files", "--wait"]);
    assert_eq!(again.code, Some(0));
    assert!(again.out.contains("nothing to drain\ndrained already: files"), "{again:?}");
    assert_eq!(sandbox.run(["stop", "files"]).code, Some(0));
    sandbox.until("it is off", |status| word(status, 0) == "off");
    let nothing = sandbox.run(["resume", "files"]).out;
    assert!(nothing.contains("nothing to resume"), "{nothing}");
    let quit = sandbox.run(["quit", "--wait"]);
    assert_eq!(quit.code, Some(0), "the end itself forced nothing: {quit:?}");
    assert_eq!(host.end().code, Some(0));
}

fn context(status: &Value) -> String {
    status["forwards"][0]["context"].as_str().unwrap().to_owned()
}

/// S8.3: selected by tag and context like every command; mistakes are named.
#[test]
fn s8_3_drain_takes_names_tags_and_contexts() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
    let _host = sandbox.host();
    let said = sandbox.run(["drain", "--tag", "beta-tag"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "drain: beta\n"));
    sandbox.until("beta is drained", |status| word(status, 1) == "drained");
    let status = sandbox.run(["status", "--json"]).json();
    let drain = &status["forwards"][1]["drain"];
    assert_eq!(keys(drain), set(&["stage", "since_s", "left_ms", "forced"]));
    assert_eq!(status["forwards"][0]["drain"], Value::Null);
    let both = sandbox.run(["drain", "--context", &context(&status), "--wait", "--json"]).json();
    assert_eq!(both["forwards"], json!(["alpha"]));
    assert_eq!(both["message"], "drained already: beta");
    assert_eq!(sandbox.run(["start", "beta"]).code, Some(0));
    assert_eq!(sandbox.run(["resume", "--all"]).out, "resume: alpha\n");
    for (arguments, words) in [
        (&["drain", "--context", "nowhere"][..], "no forward goes through `nowhere`"),
        (&["drain", "alphq"], "did you mean `alpha`?"),
        (&["resume", "--tag", "none"], "no forward carries the tag `none`"),
        (&["drain", "alpha", "--timeout", "soon"], "the units are `ms`"),
        (&["drain"], "required"),
    ] {
        let said = sandbox.run(arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
}

/// S10.2: `quit --wait` shows the stages as they pass; without a terminal there is no
/// escape code, and with `--json` every line is one piece of news.
#[test]
fn s10_2_quit_shows_the_stages_as_they_pass() {
    for json in [false, true] {
        let sshd = Sshd::start();
        let (port, _go) = sender();
        let sandbox = Sandbox::behind(&sshd, &[("files", port)]);
        let host = sandbox.host();
        let status = sandbox.until("it serves", |status| word(status, 0) == "serving");
        let mut open = client(status["forwards"][0]["local"].as_str().unwrap());
        open.read_exact(&mut [0; 1024]).unwrap();
        let mut arguments = vec!["quit", "--wait"];
        arguments.extend(json.then_some("--json"));
        let mut quit = sandbox.spawn(arguments);
        let line = quit.complaint_with("complete_current");
        if json {
            let progress: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(keys(&progress), set(&["phase", "sentence", "ending", "drains"]));
            let ending = &progress["ending"];
            let expected =
                ["stage", "left_ms", "can_cancel", "open", "left", "first", "more", "forced"];
            assert_eq!(keys(ending), set(&expected));
            assert_eq!((&ending["open"], &ending["can_cancel"]), (&json!(1), &json!(true)));
            assert_eq!(ending["first"][0]["owner"], "files", "{ending}");
            assert!(ending["left_ms"].as_u64().unwrap() <= 8_000, "{ending}");
        }
        drop(open);
        let said = quit.end();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(!said.err.contains('\x1b') && !said.out.contains('\x1b'), "{said:?}");
        if json {
            assert_eq!(said.json()["stopped"]["forced"], json!([]));
        } else {
            assert!(said.out.starts_with("LocalPort ended in"), "{said:?}");
        }
        assert_eq!(host.end().code, Some(0));
    }
}
