//! Owns `demo`: LocalPort at work on a machine that has nothing to forward to.
//!
//! An SSH server and a web service run inside this process; the forward between them
//! is the real thing: the system's `ssh`, a real configuration, a real host.

mod far;
mod ground;
mod stage;
mod visit;

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::{Output, bytes};
use far::{SshServer, WebService};
use ground::{FORWARD, Ground};
use localport_core::lifecycle::LifecycleEvent;
use localport_core::status::{ForwardStatus, Status};
use localport_engine::control::client::Client;
use localport_engine::registry::{Registry, Tasks};
use localport_lifecycle::Watch;
use serde_json::json;
use stage::Stage;
use std::time::{Duration, Instant};
use visit::visit;

/// Time for the first session; OpenSSH on a slow machine takes about one.
const CONNECT: Duration = Duration::from_secs(30);
/// How long the SSH server stays away.
const AWAY: Duration = Duration::from_secs(2);
/// Requests that show ordinary traffic.
const VISITS: usize = 3;

/// `localport demo`
pub(crate) async fn run(demo: &args::Demo, output: &mut Output) -> Result<Exit, CommandError> {
    let mut watch = localport_lifecycle::watch(localport_lifecycle::Host::Headless)?;
    // What it holds is there before the host looks at what it has itself.
    let _ = tokio::time::timeout(super::run::SETTLE, watch.settled()).await;
    let registry = Registry::default();
    let tasks = Tasks::new("demo", &registry);
    let web = WebService::start(&tasks).await?;
    let mut ground = Ground::new()?;
    let server = SshServer::start(&ground, &tasks).await?;
    let (ssh, web) = (server.port(), web.port());
    ground.write(ssh, web)?;
    let text = format!("An SSH server (port {ssh}) and a web service (port {web}) run here");
    say(output, "far side", json!({ "ssh": ssh, "web": web }), &text)?;

    let stage = match &demo.desktop {
        Some(program) => Stage::app(program, &ground).await?,
        None => Stage::here(&ground).await?,
    };
    let shown = tokio::select! {
        shown = perform(stage.client(), server, &tasks, demo, output) => shown,
        () = asked_to_end(&mut watch) => Ok(()),
    };
    // The far side lives in this process: it goes first, so that the host's comparison
    // with the system finds the host alone.
    tasks.cancel();
    tasks.wait().await;
    let stopped = stage.end().await;
    shown?;
    let Some(stopped) = stopped? else { return Ok(Exit::Done) };
    let sentence = super::quit::sentence(&stopped);
    say(output, "ended", json!({ "stopped": stopped }), &sentence)?;
    Ok(super::quit::exit(&stopped))
}

/// Everything there is to see, and then the time that is left.
async fn perform(
    client: &Client,
    mut server: SshServer,
    tasks: &Tasks,
    demo: &args::Demo,
    output: &mut Output,
) -> Result<(), CommandError> {
    let forward = serving(client).await?;
    traffic(client, &forward, output).await?;
    outage(client, &forward, &mut server, tasks, output).await?;
    if demo.once {
        return Ok(());
    }
    let url = format!("http://{}/", forward.local);
    let text = format!("Open {url} yourself; Ctrl-C ends the demo");
    say(output, "yours", json!({ "url": url }), &text)?;
    match demo.seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => ended(client).await?,
    }
    Ok(())
}

/// Ordinary requests, and what is counted of them.
async fn traffic(
    client: &Client,
    forward: &ForwardStatus,
    output: &mut Output,
) -> Result<(), CommandError> {
    let ForwardStatus { local, target, context, .. } = forward;
    let text = format!("http://{local}/ is forwarded to {target} via {context}");
    say(output, "forwarded", json!({ "local": local, "target": target }), &text)?;
    for _ in 0..VISITS {
        let answer = visit(local).await?;
        say(output, "visit", json!(answer), &answer.words())?;
    }
    facts(client, output).await
}

/// The SSH server goes away; a client that connects meanwhile is served when it is back.
async fn outage(
    client: &Client,
    forward: &ForwardStatus,
    server: &mut SshServer,
    tasks: &Tasks,
    output: &mut Output,
) -> Result<(), CommandError> {
    server.go_away().await;
    let text = "The SSH server is gone; a client connects all the same and is held …";
    say(output, "away", json!({}), text)?;
    let begun = Instant::now();
    let local = forward.local.clone();
    let visiting = tasks.spawn("held client", async move { visit(&local).await });
    tokio::time::sleep(AWAY).await;
    server.come_back().await?;
    let answer = visiting.await.map_err(std::io::Error::other)?;
    let Some(answer) = answer.transpose()? else { return Ok(()) };
    let waited = begun.elapsed().as_secs_f64();
    let words = answer.words();
    let text = format!("… and served {waited:.1} s later, when the server was back: {words}");
    say(output, "held", json!({ "waited_s": waited, "visit": answer }), &text)?;
    serving(client).await?;
    facts(client, output).await
}

/// The forward, once all three facts hold; its problem, when a person has to act or
/// the time is over.
async fn serving(client: &Client) -> Result<ForwardStatus, CommandError> {
    let mut stream = client.events("/v1/status").await?;
    let mut last = None;
    let search = async {
        while let Some(message) = stream.message().await? {
            let status: Status =
                serde_json::from_str(&message.data).map_err(std::io::Error::from)?;
            last = status.forwards.into_iter().next();
            let word = last.as_ref().map_or("", |forward| forward.word.as_str());
            if matches!(word, "serving" | "broken") {
                break;
            }
        }
        Ok::<(), CommandError>(())
    };
    // After the time-out the last status tells why.
    if let Ok(result) = tokio::time::timeout(CONNECT, search).await {
        result?;
    }
    match last {
        Some(forward) if forward.word == "serving" => Ok(forward),
        Some(ForwardStatus { problem: Some(problem), .. }) => {
            let code = problem.code.as_str();
            Err(CommandError::new(Exit::Failure, code, problem.sentence, &problem.hint))
        }
        _ => {
            let sentence = format!("the forward did not serve within {} s", CONNECT.as_secs());
            Err(CommandError::new(Exit::Failure, "not-serving", sentence, "try it once more"))
        }
    }
}

/// The three facts, and what was carried.
async fn facts(client: &Client, output: &mut Output) -> Result<(), CommandError> {
    let forward: ForwardStatus = client.get(&format!("/v1/status/{FORWARD}")).await?;
    let ForwardStatus { word, local, tunnel, target_health, bytes: carried, .. } = &forward;
    let rtt = tunnel.rtt_ms.map(|rtt| format!(" in {rtt:.1} ms")).unwrap_or_default();
    let path = tunnel.path.as_deref().unwrap_or("unknown");
    let text = format!(
        "  {word}: listening on {local}, tunnel {} by {path}{rtt}, target {}; {} up, {} down, \
         {} clients",
        tunnel.state,
        target_health.state,
        bytes(carried.up),
        bytes(carried.down),
        forward.connections.total,
    );
    say(output, "facts", json!({ "forward": forward }), &text)
}

/// Resolves when the host has ended by itself, as when a person quits the app.
async fn ended(client: &Client) -> Result<(), CommandError> {
    let mut stream = client.events("/v1/events").await?;
    while stream.message().await?.is_some() {}
    Ok(())
}

async fn asked_to_end(watch: &mut Watch) {
    while !matches!(watch.next().await.event, LifecycleEvent::QuitRequested { .. }) {}
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
