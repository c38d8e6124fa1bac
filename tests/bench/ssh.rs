//! Our SSH forwards beside plain `ssh -L`: same server, same minute, turn about.
//!
//! Every row is measured in turns, plain first, then ours, and the medians are compared:
//! the ratio is what counts, since both share the machine with the server.

use localport_core::config::{Config, Target};
use localport_core::time::Timestamp;
use localport_engine::adapter::kube::Options as KubeOptions;
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::journal::{Journal, JournalFile};
use localport_engine::registry::Registry;
use localport_tests::engine::{Engine, forward};
use localport_tests::ports::free_port;
use localport_tests::servers::Server;
use localport_tests::sshd::Sshd;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Turns of each row.
const TURNS: usize = 5;
/// Bytes of one bulk transfer.
const BULK: usize = 512 << 20;
/// How long connections are counted in one turn.
const COUNTING: Duration = Duration::from_secs(2);
/// Turns of the rows about registry and journal, whose share is small.
const ACCOUNT_TURNS: usize = 9;
/// The word that asks for them.
const ACCOUNT: &str = "account";
/// Forwards whose memory is compared.
const MANY: usize = 100;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", account, config, user_port, remote @ ..] => {
            serve(*account == ACCOUNT, config, user_port, remote);
        }
        _ => compare(),
    }
}

/// The engine in a process of its own, so that its memory and its CPU are its own.
/// Arguments: whether it keeps account and journal, ssh_config, `user@port:key`, then `local:remote` ports. Ends with its input.
fn serve(accounts: bool, config: &str, login: &str, ports: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut login = login.splitn(3, ':');
        let mut next = || login.next().unwrap().to_owned();
        let (user, port, key) = (next(), next(), next());
        let forwards = ports.iter().map(|pair| {
            let (local, remote) = pair.split_once(':').unwrap();
            let target = localport_core::config::SshTarget {
                host: "127.0.0.1".to_owned(),
                user: Some(user.clone()),
                port: port.parse().ok(),
                key_file: Some(key.clone().into()),
                password: None,
                remote_host: "127.0.0.1".to_owned(),
                remote_port: remote.parse().unwrap(),
            };
            forward(&format!("f{local}"), local.parse().unwrap(), Target::Ssh(target))
        });
        let ssh =
            SshOptions { extra_args: vec!["-F".into(), config.into()], ..SshOptions::default() };
        let registry = if accounts { Registry::default() } else { Registry::blind() };
        let config = Config { forwards: forwards.collect(), ..Config::default() };
        let kube = KubeOptions::default();
        let engine = Engine::start_with(config, ssh, kube, registry, |home, registry| {
            if !accounts {
                return Journal::nowhere();
            }
            let file = Box::new(JournalFile::new(home.journal()));
            Journal::open(file, registry, Timestamp(0)).0
        });
        engine
            .until("serving", |s| {
                s.forwards.len() == ports.len()
                    && s.forwards.iter().all(|f| f.word(s.at) == "serving")
            })
            .await;
        println!("serving");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = end.await;
        engine.handle.quit(localport_core::shutdown::Reason::Person);
        engine.handle.stopped().await;
    });
}

/// A process that forwards, ended with the value: ours ends with its input, `ssh` is killed.
struct Forwarder(Child);

impl Drop for Forwarder {
    fn drop(&mut self) {
        if self.0.stdin.take().is_none() {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

fn ours(sshd: &Sshd, ports: &[(u16, u16)]) -> Forwarder {
    ours_with(ACCOUNT, sshd, ports)
}

fn ours_with(account: &str, sshd: &Sshd, ports: &[(u16, u16)]) -> Forwarder {
    let login = format!("{}:{}:{}", sshd.user(), sshd.port(), sshd.path("user_key").display());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .arg(account)
        .arg(sshd.path("ssh_config"))
        .arg(login)
        .args(ports.iter().map(|(local, remote)| format!("{local}:{remote}")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "serving\n");
    Forwarder(child)
}

fn plain(sshd: &Sshd, ports: &[(u16, u16)]) -> Forwarder {
    let mut ssh = Command::new("ssh");
    ssh.args(sshd.client_args()).args(["-N", "-o", "BatchMode=yes", "-i"]);
    ssh.arg(sshd.path("user_key")).args(["-p", &sshd.port().to_string(), "-l", sshd.user()]);
    for (local, remote) in ports {
        ssh.arg("-L").arg(format!("{local}:127.0.0.1:{remote}"));
    }
    let child = ssh.arg("127.0.0.1").stdin(Stdio::null()).spawn().unwrap();
    let forwarder = Forwarder(child);
    for (local, _) in ports {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", *local)).is_err() {
            assert!(Instant::now() < deadline, "`ssh -L` does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }
    forwarder
}

fn compare() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sshd = Sshd::start();
    let (echo, source, sink) = runtime.block_on(async {
        (Server::echo().await, Server::source(BULK).await, Server::sink().await)
    });
    let remotes = [echo.port(), source.port(), sink.port()];
    let free = || remotes.map(|remote| (free_port(), remote));
    let (plain_ports, our_ports) = (free(), free());
    let _plain = plain(&sshd, &plain_ports);
    let _ours = ours(&sshd, &our_ports);
    let row = |name: &str, unit: &str, better: Better, index: usize, measure: fn(u16) -> f64| {
        measure(plain_ports[index].0);
        measure(our_ports[index].0);
        let turns: Vec<(f64, f64)> = (0..TURNS)
            .map(|_| (measure(plain_ports[index].0), measure(our_ports[index].0)))
            .collect();
        let plain = median(turns.iter().map(|turn| turn.0));
        let ours = median(turns.iter().map(|turn| turn.1));
        show(name, unit, better, plain, ours);
    };
    println!("{:<34} {:>12} {:>12} {:>8}", "", "ssh -L", "localport", "ratio");
    row("bulk down", "MiB/s", Better::More, 1, download);
    row("bulk up", "MiB/s", Better::More, 2, upload);
    row("connections a second, 1 at a time", "", Better::More, 0, |port| connections(port, 1));
    row("connections a second, 64 at a time", "", Better::More, 0, |port| connections(port, 64));
    row("first byte, median", "ms", Better::Less, 0, first_byte);
    memory(&sshd, echo.port());
    account(&sshd, remotes);
}

/// What registry and journal cost on the way of the bytes: ours with them beside ours
/// without, in one process each, turn about.
fn account(sshd: &Sshd, remotes: [u16; 3]) {
    let free = || remotes.map(|remote| (free_port(), remote));
    let (without_ports, with_ports) = (free(), free());
    let _without = ours_with("blind", sshd, &without_ports);
    let _with = ours_with(ACCOUNT, sshd, &with_ports);
    println!("{:<34} {:>12} {:>12} {:>8}", "registry and journal", "without", "with", "ratio");
    let row = |name: &str, unit: &str, better: Better, index: usize, measure: fn(u16) -> f64| {
        let (without, with) = (without_ports[index].0, with_ports[index].0);
        measure(without);
        measure(with);
        let turns: Vec<(f64, f64)> = (0..ACCOUNT_TURNS)
            .map(|turn| {
                // Who is first alternates: a machine that slows down slows both.
                if turn % 2 == 0 {
                    (measure(without), measure(with))
                } else {
                    let with = measure(with);
                    (measure(without), with)
                }
            })
            .collect();
        let of = |pick: fn(&(f64, f64)) -> f64| turns.iter().map(pick);
        show(name, unit, better, median(of(|turn| turn.0)), median(of(|turn| turn.1)));
        let ratios = of(|turn| (turn.1 / turn.0 - 1.0) * 100.0);
        println!("{:>34} {:+.1} % in the median of the turns", "", median(ratios));
    };
    row("bulk down", "MiB/s", Better::More, 1, download);
    row("bulk up", "MiB/s", Better::More, 2, upload);
    row("connections a second, 64 at a time", "", Better::More, 0, |port| connections(port, 64));
    row("first byte, median", "ms", Better::Less, 0, first_byte);
}

#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

fn show(name: &str, unit: &str, better: Better, plain: f64, ours: f64) {
    let direction = match better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    let ratio = ours / plain;
    println!("{name:<34} {plain:>12.2} {ours:>12.2} {ratio:>7.2}×  {unit} ({direction})");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn download(port: u16) -> f64 {
    let begun = Instant::now();
    let mut stream = connect(port);
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        total += read;
    }
    assert_eq!(total, BULK);
    rate(total, begun)
}

fn upload(port: u16) -> f64 {
    let begun = Instant::now();
    let mut stream = connect(port);
    let buffer = vec![7; 256 << 10];
    for _ in 0..BULK / buffer.len() {
        stream.write_all(&buffer).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // The sink answers with what it counted, so the last byte has arrived.
    let mut counted = String::new();
    stream.read_to_string(&mut counted).unwrap();
    assert_eq!(counted.trim().parse(), Ok(BULK));
    rate(BULK, begun)
}

fn rate(bytes: usize, begun: Instant) -> f64 {
    bytes as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64()
}

fn exchange(port: u16) {
    let mut stream = connect(port);
    let mut reply = [0; 16];
    stream.write_all(b"sixteen bytes ok").unwrap();
    stream.read_exact(&mut reply).unwrap();
}

fn connections(port: u16, parallel: usize) -> f64 {
    let begun = Instant::now();
    let clients: Vec<_> = (0..parallel)
        .map(|_| {
            thread::spawn(move || {
                let mut done = 0u32;
                while begun.elapsed() < COUNTING {
                    exchange(port);
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    f64::from(done) / begun.elapsed().as_secs_f64()
}

fn first_byte(port: u16) -> f64 {
    median((0..200).map(|_| {
        let begun = Instant::now();
        exchange(port);
        begun.elapsed().as_secs_f64() * 1000.0
    }))
}

/// Memory of a hundred forwards to one host: ours share one `ssh`, plain ones are a
/// process each, as people run them. Then of a thousand of ours.
fn memory(sshd: &Sshd, echo: u16) {
    let ports = pairs(MANY, echo);
    let plain: Vec<Forwarder> = ports.iter().map(|pair| plain(sshd, &[*pair])).collect();
    let plain_memory: f64 = plain.iter().map(|forwarder| pss(forwarder.0.id())).sum();
    drop(plain);
    let our_memory = pss(ours(sshd, &ports).0.id());
    let name = format!("memory of {MANY} forwards");
    show(&name, "MiB PSS", Better::Less, plain_memory, our_memory);

    let thousand = ours(sshd, &pairs(1000, echo));
    let (engine, all) = (own_pss(thousand.0.id()), pss(thousand.0.id()));
    println!("1,000 forwards: engine {engine:.1} MiB PSS, with its `ssh` {all:.1}");
}

/// `count` free local ports, all leading to `remote`.
fn pairs(count: usize, remote: u16) -> Vec<(u16, u16)> {
    let mut ports = BTreeSet::new();
    while ports.len() < count {
        ports.insert(free_port());
    }
    ports.into_iter().map(|local| (local, remote)).collect()
}

/// Proportional memory of a process, in MiB.
fn own_pss(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .map_or(0.0, |kib: f64| kib / 1024.0)
}

/// Proportional memory of a process and its children, in MiB.
fn pss(pid: u32) -> f64 {
    let children = localport_tests::sshd::parents()
        .into_iter()
        .filter(|(_, parent)| *parent == pid)
        .map(|(child, _)| pss(child));
    own_pss(pid) + children.sum::<f64>()
}
