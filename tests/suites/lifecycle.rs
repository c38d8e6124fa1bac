//! The real headless host and the system around it: storms of signals, a double of
//! logind on a real bus, and a real SSH host that is frozen in the sleep
//! (S1.1, S1.2, D5, G2, S5.2).
#![cfg(target_os = "linux")]
#![allow(unreachable_pub, dead_code)]

#[path = "../../src-tauri/lifecycle/tests/double/bus.rs"]
mod bus;

use bus::{Answer, Bus, Double};
use localport_tests::host::{Running, Sandbox, unreachable};
use localport_tests::sshd::Sshd;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Signals of one storm.
const SIGNALS: u32 = 10_000;
/// Storms of one run of the suite; `LOCALPORT_STORM_RUNS` sets another number.
const STORMS: u64 = 24;

/// Numbers that look random and are the same each time (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn storm(host: &Running, random: &mut Seeded) {
    let mut left = SIGNALS;
    while left > 0 {
        let burst = u32::try_from(random.below(400) + 1).unwrap().min(left);
        for _ in 0..burst {
            host.signal(match random.below(8) {
                0..3 => Signal::INT,
                3..6 => Signal::TERM,
                _ => Signal::HUP,
            });
        }
        left -= burst;
        // The pauses between bursts are part of what is tried, and nothing is waited for.
        thread::sleep(Duration::from_micros(random.below(3_000)));
    }
}

/// S1.1, S1.2: whatever signals come whenever, a host ends once and leaves one receipt.
#[test]
fn s1_2_a_storm_of_signals_is_one_shutdown_with_one_receipt() {
    let storms = std::env::var("LOCALPORT_STORM_RUNS").ok().and_then(|runs| runs.parse().ok());
    let mut codes = [0_u32; 2];
    for seed in 0..storms.unwrap_or(STORMS) {
        let mut random = Seeded(seed);
        let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta", "gamma"]));
        let host = sandbox.host();
        thread::sleep(Duration::from_micros(random.below(30_000)));
        storm(&host, &mut random);
        let said = host.end();
        let Some(code @ (0 | 3)) = said.code else { panic!("seed {seed}: {said:?}") };
        codes[usize::from(code == 3)] += 1;
        let stopped = said.out.lines().filter(|line| line.contains("\"stopped\"")).count();
        assert_eq!(stopped, 1, "seed {seed}: {said:?}");
        let history = sandbox.run(["shutdown", "history", "--json"]).json();
        assert_eq!(
            history["shutdowns"].as_array().map(Vec::len),
            Some(1),
            "seed {seed}: {history:#}"
        );
        assert!(!sandbox.socket().exists(), "seed {seed}");
    }
    println!("{} storms ended clean, {} forced by a second Ctrl-C", codes[0], codes[1]);
}

/// S1.1: a signal during the start is not lost: the host ends in order, or, when it came
/// before anything was held, at once.
#[test]
fn s1_1_a_signal_during_the_start_ends_it_in_order() {
    let mut random = Seeded(7);
    let mut orderly = 0;
    for round in 0..20 {
        let sandbox = Sandbox::with_config(&unreachable(&["alpha", "beta"]));
        let host = sandbox.spawn(["run", "--json"]);
        thread::sleep(Duration::from_micros(random.below(60_000)));
        host.signal(Signal::TERM);
        let said = host.end();
        assert!(!sandbox.socket().exists(), "round {round}: {said:?}");
        match said.code {
            Some(code) => {
                assert_eq!(code, 0, "round {round}: {said:?}");
                assert!(said.out.contains("\"stopped\""), "round {round}: {said:?}");
                orderly += 1;
            }
            // Before the watch nothing is held; the system's own way is right.
            None => assert!(!said.out.contains("\"started\""), "round {round}: {said:?}"),
        }
    }
    assert!(orderly > 0, "no signal met a start that could answer it");
}

/// A logind that gives locks and says what the test tells it to.
struct Logind {
    runtime: tokio::runtime::Runtime,
    bus: Bus,
    double: Double,
    locks: Arc<Mutex<Vec<OwnedFd>>>,
}

impl Logind {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let locks = Arc::<Mutex<Vec<OwnedFd>>>::default();
        let given = locks.clone();
        let (bus, double) = runtime.block_on(async {
            let bus = Bus::start().await;
            let double =
                Double::start(&bus, "org.freedesktop.login1", move |member| match member {
                    "Inhibit" => {
                        let (ours, theirs) = rustix::pipe::pipe().unwrap();
                        given.lock().unwrap().push(ours);
                        Answer::Descriptor(theirs)
                    }
                    "Get" => Answer::Number(5_000_000),
                    _ => Answer::Refusal,
                })
                .await;
            (bus, double)
        });
        Self { runtime, bus, double, locks }
    }

    fn host(&self, sandbox: &Sandbox) -> Running {
        let mut host = sandbox.spawn_with(["run", "--json"], |command| {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus.address);
        });
        assert!(host.line().contains("\"started\""));
        host
    }

    fn inhibited(&mut self) {
        self.runtime.block_on(self.double.called("Inhibit"));
    }

    fn prepare(&self, member: &str, begins: bool) {
        let manager = "org.freedesktop.login1.Manager";
        let told = self.double.emit("/org/freedesktop/login1", manager, member, &begins);
        self.runtime.block_on(told);
    }

    /// Waits until the lock number `index` is let go of.
    fn released(&self, index: usize) {
        let mut lock =
            self.locks.lock().unwrap()[index].try_clone().map(std::fs::File::from).unwrap();
        // Reads nothing until the last holder of the other end has closed it.
        assert_eq!(lock.read(&mut [0]).unwrap(), 0);
    }
}

fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(size @ 1..) = client.read(&mut bytes) {
                    if client.write_all(&bytes[..size]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// Connects, which must never be refused, and waits for the first byte to come back.
fn first_byte(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("never refused");
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    exchange(&mut client);
    client
}

fn exchange(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    let mut got = [0; 4];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
}

fn port(status: &Value) -> u16 {
    let local = status["forwards"][0]["local"].as_str().unwrap();
    local.rsplit(':').next().unwrap().parse().unwrap()
}

fn serving(status: &Value) -> bool {
    status["phase"] == "running" && status["forwards"][0]["word"] == "serving"
}

/// G2, S5.2, D5: through a sleep in which the far side's connections died without a word
/// no client is refused, and the first byte after the wake comes within two seconds.
#[test]
fn g2_wake_to_first_byte_over_a_real_ssh_host() {
    let sshd = Sshd::start();
    let sandbox = Sandbox::behind(&sshd, &[("echo", echo_server())]);
    let mut logind = Logind::start();
    let host = logind.host(&sandbox);
    logind.inhibited();
    let port = port(&sandbox.until("serving", serving));

    // A sleep through which the connection lives: it stays, and so do open clients.
    let mut open = first_byte(port);
    logind.prepare("PrepareForSleep", true);
    logind.released(0);
    sandbox.until("asleep", |status| status["phase"] == "asleep");
    logind.prepare("PrepareForSleep", false);
    let woke = Instant::now();
    logind.inhibited();
    first_byte(port);
    let alive = woke.elapsed();
    exchange(&mut open);
    assert_eq!(sshd.logins(), 1, "the connection that lived is kept");

    // One in which it died: the far side's processes of before answer nothing any more.
    sandbox.until("serving again", serving);
    logind.prepare("PrepareForSleep", true);
    logind.released(1);
    let frozen = sshd.sessions();
    for pid in &frozen {
        localport_tests::sshd::signal(*pid, Signal::STOP);
    }
    logind.prepare("PrepareForSleep", false);
    let woke = Instant::now();
    first_byte(port);
    let dead = woke.elapsed();
    println!("wake to first byte: {alive:?} over a living connection, {dead:?} over a dead one");
    assert!(alive < Duration::from_secs(5) && dead < Duration::from_secs(5));
    for pid in frozen {
        localport_tests::sshd::signal(pid, Signal::CONT);
    }
    // Who was connected over the old way goes on when its far side answers after all.
    exchange(&mut open);
    drop(open);
    sandbox.until("serving after it", serving);
    host.signal(Signal::TERM);
    let said = host.end();
    // The double's lock is a pipe, which only the real logind's place would explain.
    assert!(said.out.contains("\"forced\":[],\"left\":[]"), "{said:?}");
}

/// D5: the machine waits for the end, and not longer; called off, the host goes on.
#[test]
fn d5_a_shutdown_of_the_machine_waits_for_the_receipt() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let mut logind = Logind::start();
    let host = logind.host(&sandbox);
    logind.inhibited();
    let resources = sandbox.run(["resources", "--json"]);
    assert!(resources.out.contains("\"inhibitor\""), "{resources:?}");
    logind.prepare("PrepareForShutdown", true);
    logind.released(0);
    let said = host.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    let last = sandbox.run(["shutdown", "last", "--json"]);
    assert!(last.out.contains("system_shutdown"), "{last:?}");
}
