//! Our forwards into a cluster beside kubectl and beside one WebSocket per connection:
//! same double, same minute, turn about.
//!
//! The double, our engine (once over tunnels, once with tunnels refused) and kubectl are
//! processes of their own, so that each has its own CPU and memory. The ratios are what
//! counts: all share the machine, and the double's node is no real one. With `quick` as
//! argument the amounts are small, to see that everything runs; with `idle` only what a
//! thousand idle forwards cost is measured.

#[path = "kube/idle.rs"]
mod idle;

use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_engine::adapter::kube::{LoginShell, Options};
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use localport_tests::engine::{Engine, forward};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Turns of each row.
const TURNS: usize = 3;

/// The round trip of the slow line.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Ports inside the pod.
const ECHO: u16 = 80;
const SOURCE: u16 = 81;
const SINK: u16 = 82;

#[derive(Clone, Copy)]
struct Amounts {
    bulk: usize,
    connections: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["server", bulk] => server(bulk.parse().unwrap()),
        ["serve", kubeconfig, ports @ ..] => serve(kubeconfig, ports),
        ["crowd"] => idle::crowd(),
        ["many", kubeconfig, count] => idle::many(kubeconfig, count.parse().unwrap()),
        ["idle"] => idle::measure(),
        ["quick"] => compare(Amounts { bulk: 32 << 20, connections: 500 }),
        _ => {
            compare(Amounts { bulk: 512 << 20, connections: 3_000 });
            idle::measure();
        }
    }
}

/// Two doubles, one of which refuses tunnels, and a slow line to the first. Says their
/// kubeconfigs; ends with its input.
fn server(bulk: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let echo = |mut socket: tokio::net::TcpStream| async move {
            socket.set_nodelay(true)?;
            let (mut read, mut write) = socket.split();
            tokio::io::copy(&mut read, &mut write).await.map(drop)
        };
        let source = move |mut socket: tokio::net::TcpStream| async move {
            let piece = vec![7; 256 << 10];
            for _ in 0..bulk / piece.len() {
                socket.write_all(&piece).await?;
            }
            // The client leaves when it has all.
            socket.read_to_end(&mut Vec::new()).await.map(drop)
        };
        let sink = move |mut socket: tokio::net::TcpStream| async move {
            let mut piece = vec![0; 256 << 10];
            let mut left = bulk;
            while left > 0 {
                left -= socket.read(&mut piece).await?;
            }
            socket.write_all(b"all").await?;
            socket.read_to_end(&mut Vec::new()).await.map(drop)
        };
        let echo = Backend::serve(echo).await.unwrap();
        let source = Backend::serve(source).await.unwrap();
        let sink = Backend::serve(sink).await.unwrap();
        let mut doubles = Vec::new();
        for tunnels in [true, false] {
            let double = ApiServer::start().await.unwrap();
            let pod = PodSpec::new("shop", "p").port("echo", ECHO, &echo);
            double.add_pod(pod.port("source", SOURCE, &source).port("sink", SINK, &sink));
            if !tunnels {
                double.refuse_way("spdy-ws", 404, false);
                double.refuse_way("spdy", 404, false);
            }
            println!("{}", double.kubeconfig().display());
            doubles.push(double);
        }
        for double in &doubles {
            let slow = slow_line(double.address()).await;
            let text = fs::read_to_string(double.kubeconfig()).unwrap();
            let text = text.replace(&double.address().to_string(), &slow.to_string());
            let path = double.kubeconfig().with_extension("slow");
            fs::write(&path, text).unwrap();
            println!("{}", path.display());
        }
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        drop(end.await);
    });
}

/// A way to `target` on which every byte takes half a round trip. The kernel here cannot
/// delay packets, so this does it.
async fn slow_line(target: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                // The handshake of TCP takes a round trip as well.
                tokio::time::sleep(ROUND_TRIP).await;
                let Ok(far) = tokio::net::TcpStream::connect(target).await else { return };
                drop((near.set_nodelay(true), far.set_nodelay(true)));
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::join!(delayed(near_in, far_out), delayed(far_in, near_out));
            });
        }
    });
    address
}

async fn delayed(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(4_096);
    let read = async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            let due = tokio::time::Instant::now() + ROUND_TRIP / 2;
            if sender.send((due, piece[..count].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}

/// The engine in a process of its own. Arguments: kubeconfig, then `local:remote` ports.
/// Ends with its input.
fn serve(kubeconfig: &str, ports: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let forwards = ports.iter().map(|pair| {
            let (local, remote) = pair.split_once(':').unwrap();
            let target = KubeTarget {
                context: Some(CONTEXT.to_owned()),
                namespace: "shop".to_owned(),
                resource: KubeResource::Pod("p".to_owned()),
                port: PortRef::Number(remote.parse().unwrap()),
                via: None,
            };
            forward(&format!("f{local}"), local.parse().unwrap(), Target::Kube(target))
        });
        let options = Options {
            kubeconfig: Some(vec![PathBuf::from(kubeconfig)]),
            login_shell: LoginShell::Never,
            ..Options::default()
        };
        let engine = Engine::start(forwards.collect(), SshOptions::default(), options);
        for pair in ports {
            let (local, _) = pair.split_once(':').unwrap();
            engine.serving(&format!("f{local}")).await;
        }
        println!("serving");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        drop(end.await);
        engine.stop().await;
    });
}

/// A child that ends with its input, or is killed.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.stdin.take().is_none() {
            drop(self.0.kill());
        }
        drop(self.0.wait());
    }
}

fn start(command: &mut Command) -> (Process, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (Process(child), output)
}

fn itself(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words).stdin(Stdio::piped());
    command
}

fn said(output: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Something that forwards the three ports, and its process.
struct Peer {
    name: &'static str,
    process: Process,
    ports: [u16; 3],
}

fn ours(name: &'static str, kubeconfig: &Path) -> Peer {
    let ports = [free_port(), free_port(), free_port()];
    let pairs: Vec<String> =
        ports.iter().zip([ECHO, SOURCE, SINK]).map(|(l, r)| format!("{l}:{r}")).collect();
    let mut words = vec!["serve", kubeconfig.to_str().unwrap()];
    words.extend(pairs.iter().map(String::as_str));
    let (process, mut output) = start(&mut itself(&words));
    assert_eq!(said(&mut output), "serving");
    Peer { name, process, ports }
}

/// None where the machine has no kubectl.
fn kubectl(kubeconfig: &Path) -> Option<Peer> {
    let ports = [free_port(), free_port(), free_port()];
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(["-n", "shop", "port-forward", "pod/p"]);
    command.args(ports.iter().zip([ECHO, SOURCE, SINK]).map(|(l, r)| format!("{l}:{r}")));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process(command.spawn().ok()?);
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", ports[2])).is_err() {
        if Instant::now() > deadline {
            println!("kubectl is here and does not forward; it is left out");
            return None;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Some(Peer { name: "kubectl", process, ports })
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn compare(amounts: Amounts) {
    let bulk = amounts.bulk.to_string();
    let (_server, mut output) = start(&mut itself(&["server", &bulk]));
    let [tunnels, single, slow_tunnels, slow_single] =
        [(); 4].map(|()| PathBuf::from(said(&mut output)));
    let peers = |tunnels: &Path, single: &Path| {
        let mut peers = vec![ours("localport", tunnels), ours("localport v4", single)];
        peers.extend(kubectl(tunnels));
        peers
    };
    {
        let peers = peers(&tunnels, &single);
        let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
        println!(
            "{:<44}{}",
            "",
            names.iter().map(|name| format!("{name:>16}")).collect::<String>()
        );
        let connections = amounts.connections;
        row("one at a time, median ms", &peers, |peer| {
            let all = exchanges(peer.ports[0], 200, 1).1;
            all[all.len() / 2]
        });
        row(&format!("{connections} at 50 at a time: not served"), &peers, |peer| {
            (connections - exchanges(peer.ports[0], connections, 50).1.len()) as f64
        });
        row("64 at a time, connections/s", &peers, |peer| {
            let (took, all) = exchanges(peer.ports[0], connections, 64);
            all.len() as f64 / took.as_secs_f64()
        });
        row("CPU per connection, µs", &peers, |peer| {
            let before = cpu(&peer.process);
            let served = exchanges(peer.ports[0], connections, 64).1.len();
            (cpu(&peer.process) - before) * 1e6 / served as f64
        });
        let mib = amounts.bulk as f64 / f64::from(1 << 20);
        row("bulk down, MiB/s", &peers, |peer| mib / download(peer.ports[1], amounts.bulk));
        row("bulk up, MiB/s", &peers, |peer| mib / upload(peer.ports[2], amounts.bulk));
        row("CPU down, s/GiB", &peers, |peer| {
            let before = cpu(&peer.process);
            download(peer.ports[1], amounts.bulk);
            (cpu(&peer.process) - before) * 1024.0 / mib
        });
        row("CPU up, s/GiB", &peers, |peer| {
            let before = cpu(&peer.process);
            upload(peer.ports[2], amounts.bulk);
            (cpu(&peer.process) - before) * 1024.0 / mib
        });
    }
    let peers = peers(&slow_tunnels, &slow_single);
    let trip = ROUND_TRIP.as_secs_f64() * 1e3;
    let at = |share: usize| {
        move |peer: &Peer| {
            exchanges(peer.ports[0], 5, 1);
            let all = exchanges(peer.ports[0], 100, 1).1;
            all[(all.len() * share / 100).min(all.len() - 1)] / trip
        }
    };
    row("first byte at 20 ms, median, round trips", &peers, at(50));
    row("first byte at 20 ms, p99, round trips", &peers, at(99));
}

/// The median of some turns, each peer in its turn.
fn row(name: &str, peers: &[Peer], measure: impl Fn(&Peer) -> f64) {
    let mut turns = vec![Vec::new(); peers.len()];
    for _ in 0..TURNS {
        for (peer, turns) in peers.iter().zip(&mut turns) {
            turns.push(measure(peer));
        }
    }
    let medians = turns.into_iter().map(|mut turns| {
        turns.sort_by(f64::total_cmp);
        format!("{:>16.2}", turns[turns.len() / 2])
    });
    println!("{name:<44}{}", medians.collect::<String>());
}

/// Sixteen bytes there and back on `count` new connections, `parallel` at a time: the
/// time of all, and the milliseconds of each that was served, in order of size.
fn exchanges(port: u16, count: usize, parallel: usize) -> (Duration, Vec<f64>) {
    let begun = Instant::now();
    let left = std::sync::atomic::AtomicUsize::new(count);
    let mut all: Vec<f64> = thread::scope(|scope| {
        let worker = || {
            let mut times = Vec::new();
            let take = |left: usize| left.checked_sub(1);
            let order = std::sync::atomic::Ordering::Relaxed;
            while left.fetch_update(order, order, take).is_ok() {
                let begun = Instant::now();
                if exchange(port).is_ok() {
                    times.push(begun.elapsed().as_secs_f64() * 1e3);
                }
            }
            times
        };
        let workers: Vec<_> = (0..parallel).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort_by(f64::total_cmp);
    (begun.elapsed(), all)
}

fn exchange(port: u16) -> std::io::Result<()> {
    let mut stream = connect(port)?;
    let mut reply = [0; 16];
    stream.write_all(b"sixteen bytes ok")?;
    stream.read_exact(&mut reply)
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Seconds that `bulk` bytes took, each of them looked at.
fn download(port: u16, bulk: usize) -> f64 {
    let begun = Instant::now();
    let mut stream = connect(port).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut left = bulk;
    while left > 0 {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the download ended {left} bytes short");
        assert!(buffer[..count].iter().all(|byte| *byte == 7));
        left -= count;
    }
    begun.elapsed().as_secs_f64()
}

/// Seconds until the far side had `bulk` bytes and said so.
fn upload(port: u16, bulk: usize) -> f64 {
    let begun = Instant::now();
    let mut stream = connect(port).unwrap();
    let buffer = vec![7; 256 << 10];
    for _ in 0..bulk / buffer.len() {
        stream.write_all(&buffer).unwrap();
    }
    let mut reply = [0; 3];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"all");
    begun.elapsed().as_secs_f64()
}

/// Seconds of CPU that a process has used.
fn cpu(process: &Process) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // Hundredths of a second, on every Linux there is.
    (ticks(11) + ticks(12)) / 100.0
}
