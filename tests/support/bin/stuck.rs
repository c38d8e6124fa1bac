//! A host whose process has something in it that never ends, for the tests: what stands
//! in the first argument, `nothing`, `tasks` or `blocking`. A line on its standard input
//! asks it to end within a second.

use localport_core::shutdown::Reason;
use localport_engine::deadline::Deadline;
use localport_engine::home::Home;
use localport_engine::host::{self, HostOptions, Role};
use localport_engine::verify::RUNTIME_THREAD;
use std::process::ExitCode;
use std::time::Duration;

const WORKERS: usize = 2;

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let deadline = Deadline::default();
    let shared = deadline.clone();
    match deadline.run(move || run(&what, shared)).unwrap() {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(3),
        None => {
            eprintln!("overdue");
            ExitCode::from(3)
        }
    }
}

fn run(what: &str, deadline: Deadline) -> bool {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(RUNTIME_THREAD)
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let clean = runtime.block_on(async {
        let options =
            HostOptions { deadline, ..HostOptions::new(Home::find().unwrap(), Role::Headless) };
        let host = host::start(options).await.unwrap();
        let engine = host.engine.clone();
        match what {
            "tasks" => (0..WORKERS).for_each(|_| {
                tokio::spawn(async {
                    loop {
                        std::hint::spin_loop();
                    }
                });
            }),
            "blocking" => {
                tokio::task::spawn_blocking(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            _ => {}
        }
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                println!("started");
                std::io::stdin().read_line(&mut String::new()).unwrap();
                engine.quit_within(Reason::Person, Duration::from_secs(1));
            })
            .unwrap();
        host.wait().await.forced.is_empty()
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    clean
}
