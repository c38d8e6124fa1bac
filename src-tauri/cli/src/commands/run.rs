//! Owns `run`: the headless host in the foreground.
//!
//! Receives lifecycle events, emits a calm start, a word at the end, and an exit code.

use super::live::Live;
use super::quit;
use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use localport_core::config::Severity;
use localport_core::config::reload::Who;
use localport_core::lifecycle::{LifecycleEvent, QuitSource};
use localport_core::progress::Progress;
use localport_core::snapshot::{ConfigView, Forward, Phase, Snapshot};
use localport_core::time::Timestamp;
use localport_engine::deadline::Deadline;
use localport_engine::handle::EngineHandle;
use localport_engine::home::Home;
use localport_engine::host::{self, HostError, HostOptions, Owner, Role, RunningHost};
use localport_engine::logs::{DEFAULT_FILTER, Logs, Terminal};
use localport_lifecycle::{Done, Notice, Watch};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Time the system's services have to answer at the start; it goes on without them.
pub(crate) const SETTLE: Duration = Duration::from_millis(300);
/// Forwards that the start names one by one.
const NAMED: usize = 20;

/// `localport run`
pub(crate) async fn run(
    home: Home,
    config_files: Vec<PathBuf>,
    wanted: &args::Run,
    deadline: Deadline,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    // Watched from here on, so that a signal during the start ends it in order.
    let mut watch = localport_lifecycle::watch(localport_lifecycle::Host::Headless)?;
    // What the watch holds is there before the host looks at what it has itself.
    let _ = timeout(SETTLE, watch.settled()).await;
    home.create()?;
    let logs = open_logs(&home, wanted, output)?;
    let options = HostOptions {
        config_files,
        logs: Some(logs),
        deadline,
        ..HostOptions::new(home, Role::Headless)
    };
    let host = match host::start(options).await {
        Ok(host) => host,
        Err(HostError::AlreadyRunning(owner)) => return already_running(&owner, output),
        Err(error) => return Err(error.into()),
    };
    if !wanted.quiet {
        greet(&host, output)?;
    }
    serve(host, watch, output).await
}

fn open_logs(home: &Home, wanted: &args::Run, output: &Output) -> Result<Logs, CommandError> {
    let logs = Logs::open(&home.logs())?;
    let terminal = match (wanted.quiet, output.colour_of_errors()) {
        (true, _) => Terminal::Silent,
        (false, true) => Terminal::Coloured,
        (false, false) => Terminal::Plain,
    };
    let filter = std::env::var("LOCALPORT_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.as_deref().unwrap_or(match wanted.verbose {
        0 => DEFAULT_FILTER,
        1 => "info,localport=debug,localport_engine=debug,localport_core=debug",
        _ => "trace",
    });
    logs.install(terminal, filter).map_err(|error| {
        let hint = "LOCALPORT_LOG takes filters such as `localport_engine=debug`";
        CommandError::new(Exit::Usage, "log-filter", error.to_string(), hint)
    })?;
    Ok(logs)
}

/// A second start is no failure: what was wanted is the case.
fn already_running(owner: &Owner, output: &mut Output) -> Result<Exit, CommandError> {
    if output.json() {
        output.value(&json!({ "already_running": owner }))?;
    } else {
        output.line(format!("LocalPort already runs: {owner}"))?;
        output.line("  `localport status` shows it, `localport quit` ends it")?;
    }
    Ok(Exit::Done)
}

/// What runs and where, in a few lines.
fn greet(host: &RunningHost, output: &mut Output) -> std::io::Result<()> {
    let snapshot = host.engine.snapshot().borrow().clone();
    if output.json() {
        return output.record(&json!({ "started": host.owner, "found": host.found }));
    }
    let on = snapshot.forwards.iter().filter(|forward| forward.wanted).count();
    let off = snapshot.forwards.len() - on;
    let off = if off > 0 { format!(", {off} off") } else { String::new() };
    let plural = if on == 1 { "" } else { "s" };
    output.line(format!(
        "LocalPort {} runs {on} forward{plural}{off} (process {})",
        snapshot.version, snapshot.pid
    ))?;
    if let Some(found) = &host.found {
        output.line(format!("{found}."))?;
    }
    list(&snapshot, output)?;
    configuration(&snapshot.config, output)?;
    output.line("Ctrl-C ends it; `localport status` shows it from another terminal")
}

fn list(snapshot: &Snapshot, output: &mut Output) -> std::io::Result<()> {
    let wanted: Vec<&Forward> = snapshot.forwards.iter().filter(|f| f.wanted).collect();
    let width = wanted.iter().take(NAMED).map(|f| f.name.chars().count()).max().unwrap_or(0);
    for forward in wanted.iter().take(NAMED) {
        let Forward { name, local, target, context, .. } = forward;
        output.line(format!("  {name:width$}  {local} → {target} via {context}"))?;
    }
    if wanted.len() > NAMED {
        output.line(format!("  and {} more", wanted.len() - NAMED))?;
    }
    Ok(())
}

fn configuration(view: &ConfigView, output: &mut Output) -> std::io::Result<()> {
    if view.files.is_empty() {
        output.line("No configuration found; looked for:")?;
        for place in &view.searched {
            output.line(format!("  {place}"))?;
        }
        return Ok(());
    }
    output.line(format!("Configuration: {}", view.files.join(", ")))?;
    for diagnostic in view.diagnostics.iter().filter(|d| d.severity == Severity::Error) {
        output.note(diagnostic.to_string());
    }
    Ok(())
}

/// Runs until the engine has ended, and says how it went.
async fn serve(
    host: RunningHost,
    mut watch: Watch,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let (engine, reload) = (host.engine.clone(), host.reload.clone());
    host.account_for(watch.holdings());
    let ending = host.wait();
    tokio::pin!(ending);
    // What the system waits for; let go of when everything is released.
    let mut session: Vec<Done> = vec![];
    let mut naps = FuturesUnordered::new();
    let mut live = Live::new(output);
    let mut snapshots = engine.snapshot();
    let stopped = loop {
        let tick = live.tick;
        tokio::select! {
            stopped = &mut ending => break stopped,
            // Elsewhere than on a terminal the log says it.
            Ok(()) = snapshots.changed(), if live.is_rewritten() => {
                let snapshot = snapshots.borrow_and_update().clone();
                if snapshot.ending.is_none() {
                    live.end();
                }
                live.show(&own_end(&snapshot, engine.clock().now()));
            }
            () = sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => live.count(),
            Some(()) = naps.next(), if !naps.is_empty() => {}
            Notice { event, done } = watch.next() => match event {
                LifecycleEvent::QuitRequested { source } => {
                    let asked = engine.snapshot().borrow().phase == Phase::Draining;
                    request(&engine, source, asked, output).await;
                }
                LifecycleEvent::ReloadRequested => reload.ask(Who::Hup),
                LifecycleEvent::SessionEnding { end, within } => {
                    engine.quit_within(end.into(), within);
                    session.push(done);
                }
                LifecycleEvent::SessionEndCancelled => {
                    engine.session_goes_on();
                    session.clear();
                }
                LifecycleEvent::WillSleep { within } => naps.push(nap(&engine, within, done)),
                LifecycleEvent::DidWake { slept } => engine.wake(slept),
                LifecycleEvent::NetworkChanged => engine.network_changed(),
            },
        }
    };
    drop(session);
    watch.until_exit();
    live.end();
    if output.json() {
        output.record(&json!({ "stopped": stopped }))?;
    } else {
        output.note(quit::sentence(&stopped));
    }
    Ok(quit::exit(&stopped))
}

/// The end alone: who drains a part follows it where it was asked for.
fn own_end(snapshot: &Snapshot, now: Timestamp) -> Progress {
    Progress { drains: vec![], ..Progress::of(snapshot, now) }
}

/// Makes the engine quiet, then lets the machine sleep.
async fn nap(engine: &EngineHandle, within: Duration, done: Done) {
    engine.suspend(within).await;
    drop(done);
}

/// The first request drains; a second one of a person hurries; a hang-up has no person.
async fn request(engine: &EngineHandle, source: QuitSource, again: bool, output: &mut Output) {
    if again {
        // Only a person hurries; whoever else asks again is told by the end itself.
        if source == QuitSource::Terminal {
            engine.hurry();
            output.note("Hurrying: open connections are cut");
        }
        return;
    }
    engine.quit(source.into());
    let open: u32 = engine.fresh().await.forwards.iter().map(|f| f.connections.open).sum();
    if open > 0 && source == QuitSource::Terminal {
        let plural = if open == 1 { "" } else { "s" };
        output.note(format!("Waiting for {open} open connection{plural}; Ctrl-C again cuts it"));
    }
}
