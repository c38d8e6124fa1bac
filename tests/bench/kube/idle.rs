//! What a thousand forwards over twenty namespaces cost while nobody uses them: memory
//! beyond that of an engine without forwards, and wake-ups, both of the engine's process.

use super::{Process, itself, said, start};
use localport_core::config::{KubeResource, KubeTarget, PortRef, Target};
use localport_engine::adapter::kube::{LoginShell, Options};
use localport_engine::adapter::ssh::SshOptions;
use localport_tests::apiserver::{ApiServer, Backend, CONTEXT, PodSpec};
use localport_tests::engine::{Engine, forward};
use localport_tests::ports::free_ports;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Time for what a start set in motion, and time that is measured.
const SETTLE: Duration = Duration::from_secs(20);
const MEASURED: Duration = Duration::from_secs(30);

/// A double with twenty namespaces. Says its kubeconfig, then, for each line of its input,
/// how many watches are open on how many connections; ends with its input.
pub(super) fn crowd() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let backend = Backend::start("any").await.unwrap();
        let double = ApiServer::start().await.unwrap();
        for number in 0..20 {
            let namespace = format!("team-{number}");
            let pod = PodSpec::new(&namespace, "orders-0").label("app", "orders");
            double.add_pod(pod.port("http", 8080, &backend));
            double.add_service(&namespace, "orders", &[("app", "orders")], &[("web", 80, "http")]);
        }
        println!("{}", double.kubeconfig().display());
        let asked = double.clone();
        let answers = tokio::task::spawn_blocking(move || {
            for _ in std::io::stdin().lock().lines() {
                println!("{} on {}", asked.open_watches().len(), asked.multiplexed_now());
            }
        });
        drop(answers.await);
    });
}

/// The engine with `count` forwards in a process of its own. Ends with its input.
pub(super) fn many(kubeconfig: &str, count: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let forwards = free_ports(count).into_iter().enumerate().map(|(number, port)| {
            let target = KubeTarget {
                context: Some(CONTEXT.to_owned()),
                via: None,
                namespace: format!("team-{}", number % 20),
                resource: KubeResource::Service("orders".to_owned()),
                port: PortRef::Number(80),
            };
            forward(&format!("orders-{number}"), port, Target::Kube(target))
        });
        let options = Options {
            kubeconfig: Some(vec![PathBuf::from(kubeconfig)]),
            login_shell: LoginShell::Never,
            ..Options::default()
        };
        let engine = Engine::start(forwards.collect(), SshOptions::default(), options);
        let serving = engine.until("all serving", |s| {
            s.forwards.iter().filter(|f| f.word(s.at) == "serving").count() == count
        });
        serving.await;
        println!("serving");
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        drop(end.await);
        engine.stop().await;
    });
}

pub(super) fn measure() {
    let (mut server, mut output) = start(&mut itself(&["crowd"]));
    let kubeconfig = PathBuf::from(said(&mut output));
    let (empty, _) = cost(&kubeconfig, 0, String::new);
    let watches = || {
        if let Some(input) = server.0.stdin.as_mut() {
            input.write_all(b"\n").unwrap();
        }
        said(&mut output)
    };
    let (full, words) = cost(&kubeconfig, 1_000, watches);
    println!("{:<44}{:>16}", "1,000 forwards, 20 namespaces: watches", words);
    println!("{:<44}{:>16.1}", "  memory over an empty engine, MiB", full.mib - empty.mib);
    println!("{:<44}{:>16.1}", "  wake-ups/s while idle", full.wakes);
}

struct Cost {
    mib: f64,
    wakes: f64,
}

fn cost(kubeconfig: &Path, count: usize, ask: impl FnOnce() -> String) -> (Cost, String) {
    let words = ["many", kubeconfig.to_str().unwrap(), &count.to_string()];
    let (process, mut output) = start(&mut itself(&words));
    assert_eq!(said(&mut output), "serving");
    thread::sleep(SETTLE);
    let before = wakes(&process);
    thread::sleep(MEASURED);
    let wakes = (wakes(&process) - before) / MEASURED.as_secs_f64();
    (Cost { mib: memory(&process), wakes }, ask())
}

/// The proportional share of memory, in MiB.
fn memory(process: &Process) -> f64 {
    let path = format!("/proc/{}/smaps_rollup", process.0.id());
    let text = fs::read_to_string(path).unwrap_or_default();
    number_after(&text, "Pss:") / 1024.0
}

/// Times that any of its threads was put to rest and woken again.
fn wakes(process: &Process) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.0.id()));
    let threads = tasks.into_iter().flatten().flatten();
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status"));
    threads
        .map(|task| number_after(&status(task).unwrap_or_default(), "voluntary_ctxt_switches:"))
        .sum()
}

fn number_after(text: &str, key: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(key));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
