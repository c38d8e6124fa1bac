//! Owns `demo`: LocalPort at work on a machine that has nothing to forward to.
//!
//! An SSH server and a web service run inside this process; the forward between them
//! is the real thing: the system's `ssh`, a real configuration, a real host.

mod far;
mod ground;
mod visit;

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::{Output, bytes};
use far::{SshServer, WebService};
use ground::Ground;
use localport_core::lifecycle::LifecycleEvent;
use localport_core::snapshot::{Forward, Standing};
use localport_engine::adapter::ssh::SshOptions;
use localport_engine::handle::EngineHandle;
use localport_engine::host::{self, HostOptions, Role};
use localport_engine::registry::{Registry, Tasks};
use localport_lifecycle::Watch;
use serde_json::json;
use std::time::{Duration, Instant};
use visit::{Visit, visit};

/// Time for the first session; OpenSSH on a slow machine takes about one.
const CONNECT: Duration = Duration::from_secs(30);
/// How long the SSH server stays away.
const AWAY: Duration = Duration::from_secs(2);
/// Requests that show ordinary traffic.
const VISITS: usize = 3;

/// `localport demo`
pub(crate) async fn run(demo: &args::Demo, output: &mut Output) -> Result<Exit, CommandError> {
    let mut watch = localport_lifecycle::watch()?;
    let registry = Registry::default();
    let tasks = Tasks::new("demo", &registry);
    let web = WebService::start(&tasks).await?;
    let mut ground = Ground::new()?;
    let server = SshServer::start(&ground, &tasks).await?;
    ground.write(server.port(), web.port())?;
    say(
        output,
        "far side",
        json!({ "ssh": server.port(), "web": web.port() }),
        &format!(
            "An SSH server (port {}) and a web service (port {}) run in this process",
            server.port(),
            web.port()
        ),
    )?;

    let options = HostOptions {
        config_files: vec![ground.config()],
        ssh: SshOptions {
            extra_args: vec!["-F".into(), ground.ssh_config().into()],
            ..host::ssh_options()
        },
        ..HostOptions::new(ground.home(), Role::Headless)
    };
    let running = host::start(options).await?;
    let engine = running.engine.clone();
    let (shown, over) = tokio::select! {
        shown = show(&engine, server, &tasks, demo, output) => (shown, demo.once),
        () = asked_to_end(&mut watch) => (Ok(()), true),
    };
    if shown.is_ok() && !over {
        linger(demo.seconds, &mut watch, &engine, output).await?;
    }
    let stopped = running.stop().await;
    tasks.cancel();
    tasks.wait().await;
    shown?;
    let sentence = super::quit::sentence(&stopped);
    say(output, "ended", json!({ "stopped": stopped }), &sentence)?;
    Ok(super::quit::exit(&stopped))
}

/// Everything there is to see, in its order.
async fn show(
    engine: &EngineHandle,
    mut server: SshServer,
    tasks: &Tasks,
    demo: &args::Demo,
    output: &mut Output,
) -> Result<(), CommandError> {
    let forward = serving(engine).await?;
    let url = format!("http://{}/", forward.local);
    let text = format!("{url} is forwarded to {} via {}", forward.target, forward.context);
    say(output, "forwarded", json!({ "url": url, "target": forward.target }), &text)?;
    for _ in 0..VISITS {
        let answer = visit(&forward.local).await?;
        say(output, "visit", json!(answer), &answer.words())?;
    }
    facts(engine, output).await?;

    server.go_away().await;
    let text = "The SSH server is gone; a client connects all the same and is held …";
    say(output, "away", json!({}), text)?;
    let begun = Instant::now();
    let back = tasks.spawn("server's return", async move {
        tokio::time::sleep(AWAY).await;
        let result = server.come_back().await;
        (server, result)
    });
    let answer: Visit = visit(&forward.local).await?;
    let waited = begun.elapsed();
    let text = format!(
        "… and served {:.1} s later, when the server was back: {}",
        waited.as_secs_f64(),
        answer.words()
    );
    say(output, "held", json!({ "waited_s": waited.as_secs_f64(), "visit": answer }), &text)?;
    let returned = back.await.map_err(std::io::Error::other)?;
    if let Some((server, result)) = returned {
        result?;
        // It serves until the demo's tasks end.
        server.leave_running();
    }
    serving(engine).await?;
    facts(engine, output).await?;
    if !demo.once {
        let text = format!("Open {url} yourself; Ctrl-C ends the demo");
        say(output, "yours", json!({ "url": url }), &text)?;
    }
    Ok(())
}

/// The forward, once all three facts hold; its problem, when a person has to act or
/// the time is over.
async fn serving(engine: &EngineHandle) -> Result<Forward, CommandError> {
    let mut snapshot = engine.snapshot();
    let clock = engine.clock();
    let proved = snapshot.wait_for(|snapshot| {
        snapshot.forwards.first().is_some_and(|forward| {
            matches!(forward.standing(clock.now()), Standing::Serving | Standing::Broken)
        })
    });
    // Neither the time-out nor the engine's end says more than the snapshot does.
    let _ = tokio::time::timeout(CONNECT, proved).await;
    let forward = engine.snapshot().borrow().forwards.first().cloned();
    if let Some(forward) = &forward
        && forward.standing(clock.now()) == Standing::Serving
    {
        return Ok(forward.clone());
    }
    Err(match forward.and_then(|forward| forward.problem) {
        Some(problem) => {
            CommandError::new(Exit::Failure, problem.code.as_str(), problem.sentence, &problem.hint)
        }
        None => {
            let sentence = format!("the forward did not serve within {} s", CONNECT.as_secs());
            CommandError::new(Exit::Failure, "not-serving", sentence, "try again with more time")
        }
    })
}

/// The three facts, and what was carried.
async fn facts(engine: &EngineHandle, output: &mut Output) -> Result<(), CommandError> {
    let snapshot = engine.fresh().await;
    let now = engine.clock().now();
    let Some(forward) = snapshot.forwards.first() else { return Ok(()) };
    let word = forward.word(now);
    let rtt = forward.tunnel.rtt_ms.map(|rtt| format!(" in {rtt:.1} ms")).unwrap_or_default();
    let path = forward.tunnel.path.as_deref().unwrap_or("unknown");
    let text = format!(
        "  {word}: listening on {}, tunnel {} by {path}{rtt}, target {}; {} up, {} down, {} clients",
        forward.local,
        forward.tunnel.state.as_str(),
        forward.target_health.state.as_str(),
        bytes(forward.bytes.up),
        bytes(forward.bytes.down),
        forward.connections.total,
    );
    say(output, "facts", json!({ "word": word, "forward": forward }), &text)
}

/// Stays until the time is over or somebody ends it.
async fn linger(
    seconds: Option<u64>,
    watch: &mut Watch,
    engine: &EngineHandle,
    output: &mut Output,
) -> Result<(), CommandError> {
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = asked_to_end(watch) => {}
    }
    facts(engine, output).await
}

async fn asked_to_end(watch: &mut Watch) {
    while !matches!(watch.next().await, LifecycleEvent::QuitRequested { .. }) {}
}

/// One step, for people or for programs.
fn say(
    output: &mut Output,
    step: &str,
    mut value: serde_json::Value,
    text: &str,
) -> Result<(), CommandError> {
    if output.json() {
        value["step"] = step.into();
        output.record(&value)?;
    } else {
        output.line(text)?;
    }
    Ok(())
}
