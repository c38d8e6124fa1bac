//! Storms: signals, switches, drains, new configurations, ends and their calling off, all
//! at once and with clients between them. In the end there is one end, and its receipt.

use crate::far::Far;
use crate::scene::{BUDGETS, Scene};
use crate::seeded::{Seeded, seeds};
use crate::transfer::{Outcome, try_transfer};
use crate::truth::{cut_by_name, true_receipt};
use localport_tests::host::{DEADLINE, Running};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Wishes of one storm.
const WISHES: usize = 80;
/// Storms for each seed.
const STORMS: u64 = 4;

/// What the API can be asked for in a storm.
const WORDS: [&str; 8] =
    ["start", "stop", "restart", "retry", "drain", "resume", "quit/cancel", "metrics"];

/// Asks the host; none when it has ended. Whatever it is asked, it never fails.
fn ask(socket: &Path, word: &str, selector: &str) -> Option<u16> {
    let body = match word {
        "drain" => format!("{{\"selector\": {selector}, \"within_ms\": 50}}"),
        "quit" => "{}".to_owned(),
        "quit/cancel" | "metrics" => String::new(),
        _ => selector.to_owned(),
    };
    let method = if word == "metrics" { "GET" } else { "POST" };
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let length = body.len();
    let request = format!(
        "{method} /v1/{word} HTTP/1.1\r\nhost: localport\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // What was read counts, also when the host goes in the middle.
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    assert!(matches!(status, 200 | 202 | 409 | 503), "{word} {body}: {answer}");
    Some(status)
}

fn selector(random: &mut Seeded) -> String {
    match random.below(4) {
        0 => "\"all\"".to_owned(),
        which => format!("{{\"names\": [\"f{}\"]}}", which - 1),
    }
}

/// Wishes in random order, with signals between them; few ask for the end, and many of
/// those are called off.
fn wish(scene: &Scene, random: &mut Seeded) {
    for _ in 0..WISHES {
        match random.below(30) {
            0 => send(&scene.host, *random.one_of(&[Signal::TERM, Signal::INT])),
            1 => drop(ask(&scene.sandbox.socket(), "quit", "")),
            2..6 => {
                rewrite(scene, random);
                send(&scene.host, Signal::HUP);
            }
            _ => {
                let word = *random.one_of(&WORDS);
                let selector = selector(random);
                if ask(&scene.sandbox.socket(), word, &selector).is_none() {
                    return;
                }
            }
        }
        // The pauses are part of what is tried, and nothing is waited for.
        thread::sleep(Duration::from_micros(random.below(20_000)));
    }
}

fn send(host: &Running, signal: Signal) {
    // One that has ended has not been reaped yet, so nobody else is hit.
    host.signal(signal);
}

/// Writes the configuration anew, with one forward on or off.
fn rewrite(scene: &Scene, random: &mut Seeded) {
    let text = fs::read_to_string(scene.sandbox.config()).unwrap();
    let name = format!("{{name: f{}, ", random.below(3));
    let off = format!("{name}enabled: false, ");
    let text =
        if text.contains(&off) { text.replace(&off, &name) } else { text.replace(&name, &off) };
    let fresh = scene.sandbox.path().join("fresh.yaml");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, scene.sandbox.config()).unwrap();
}

/// Clients that come and go until the storm is over; how many were cut.
fn clients(ports: &[u16], mut random: Seeded, over: &AtomicBool) -> usize {
    let mut cut = 0;
    while !over.load(Ordering::Relaxed) {
        let (port, size) = (*random.one_of(ports), 1 + random.below(300_000));
        let pace = Duration::from_millis(random.below(80));
        match try_transfer(port, u32::try_from(size).unwrap(), pace) {
            Some(Outcome::Cut) => cut += 1,
            Some(Outcome::Whole) => {}
            // Nobody listens: the next one comes a little later.
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
    cut
}

/// S11.3, S1.2: everything at once; one end, one receipt, nothing left.
#[test]
fn s11_3_a_storm_of_wishes_signals_and_clients_ends_once_and_true() {
    for seed in seeds().flat_map(|seed| seed * STORMS..(seed + 1) * STORMS) {
        let mut random = Seeded::new(seed);
        let far = Far::ssh();
        let scene = Scene::start(&far, 3, BUDGETS);
        let over = AtomicBool::new(false);
        let cut: usize = thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|number| {
                    let chance = Seeded::new(seed * 100 + number);
                    scope.spawn(|| clients(&scene.ports, chance, &over))
                })
                .collect();
            wish(&scene, &mut random);
            send(&scene.host, Signal::TERM);
            // The last clients come while it ends.
            thread::sleep(Duration::from_millis(random.below(300)));
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        let Scene { budgets, sandbox, host, ports, .. } = scene;
        // A calling off that came last may have let it go on.
        host.signal(Signal::TERM);
        let said = host.end();
        let receipt = true_receipt(&said, &sandbox, &ports);
        let limit = budgets.iter().sum::<u64>() + 1_000;
        assert!(receipt.took_ms <= limit, "{receipt:#?}");
        let named: usize = cut_by_name(&receipt).values().sum();
        assert!(named <= cut, "{named} of {cut}: {receipt:#?}");
        println!("seed {seed}: {} ms, {named} named, {cut} clients cut", receipt.took_ms);
    }
}
