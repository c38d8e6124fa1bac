//! Owns `cluster status`, `cluster events` and `login`: clusters and SSH hosts as a whole.

use crate::args::ClusterCommand;
use crate::exit::{CommandError, Exit};
use crate::output::table::{Cell, Row, lines};
use crate::output::{Output, age, paint};
use anstyle::AnsiColor;
use localport_core::cluster::{ClusterEvent, ClusterEvents, ClusterStatus, Clusters};
use localport_core::command::{Done, Refusal};
use localport_core::snapshot::Technology;
use localport_engine::control::client::{Client, encode};
use localport_engine::home::Home;
use localport_engine::logs::clock;

const HEAD: [&str; 6] = ["CLUSTER OR HOST", "REACH", "ANSWERED", "NODES", "WARNINGS", "FORWARDS"];

/// `localport cluster …`
pub(crate) async fn run(
    home: &Home,
    command: ClusterCommand,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let client = Client::new(home);
    match command {
        ClusterCommand::Status { context } => status(&client, context.as_deref(), output).await,
        ClusterCommand::Events { context } => events(&client, context.as_deref(), output).await,
    }
}

/// `localport login`
pub(crate) async fn login(
    home: &Home,
    context: &str,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    if !output.json() {
        output.note(format!("logging in to `{context}`; a browser may open, at most 5 min"));
    }
    let path = format!("/v1/login/{}", encode(context));
    let done: Done = Client::new(home).post(&path, &()).await?;
    if output.json() {
        output.value(&done)?;
    } else {
        output.line(done.message.as_deref().unwrap_or("logged in"))?;
        output.line(format!("retry: {}", done.forwards.join(", ")))?;
    }
    Ok(Exit::Done)
}

async fn status(
    client: &Client,
    context: Option<&str>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let clusters = chosen(client.get("/v1/clusters").await?, context)?;
    if output.json() {
        output.value(&clusters)?;
        return Ok(Exit::Done);
    }
    if clusters.clusters.is_empty() {
        output.line("no forward is switched on, so no cluster or host is in use")?;
        return Ok(Exit::Done);
    }
    let colour = output.colour();
    let rows: Vec<Row> = clusters.clusters.iter().map(|cluster| row(cluster, colour)).collect();
    for line in lines(&HEAD, &rows, colour) {
        output.line(line)?;
    }
    Ok(Exit::Done)
}

async fn events(
    client: &Client,
    context: Option<&str>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let asked = match context {
        Some(context) => vec![context.to_owned()],
        None => {
            let Clusters { clusters } = client.get("/v1/clusters").await?;
            let watched = clusters.into_iter().filter(|c| c.technology == Technology::Kubectl);
            watched.map(|cluster| cluster.name).collect()
        }
    };
    let mut all: Vec<ClusterEvents> = vec![];
    for name in asked {
        all.push(client.get(&format!("/v1/clusters/{}/events", encode(&name))).await?);
    }
    if output.json() {
        output.value(&all)?;
        return Ok(Exit::Done);
    }
    for ClusterEvents { cluster, events, unseen } in &all {
        for event in events {
            output.line(line(cluster, event, output.colour()))?;
        }
        if events.is_empty() {
            output.line(format!("{cluster}: no warnings in the last hour"))?;
        }
        for sentence in unseen {
            output.line(format!("{cluster}: {sentence}"))?;
        }
    }
    Ok(Exit::Done)
}

/// Only the one asked for; all of them when none is.
fn chosen(mut clusters: Clusters, context: Option<&str>) -> Result<Clusters, CommandError> {
    let Some(context) = context else { return Ok(clusters) };
    let known = |clusters: &Clusters| clusters.clusters.iter().any(|c| c.name == context);
    if !known(&clusters) {
        let names = clusters.clusters.iter().map(|cluster| cluster.name.as_str());
        let refusal = Refusal::unknown_context(context, names).to_string();
        let hint = "`localport cluster status` lists what is in use";
        return Err(CommandError::new(Exit::Usage, "unknown-context", refusal, hint));
    }
    clusters.clusters.retain(|cluster| cluster.name == context);
    Ok(clusters)
}

fn row(cluster: &ClusterStatus, colour: bool) -> Row {
    let before = if cluster.cached { ", from before" } else { "" };
    let answered = match (cluster.latency_ms, cluster.checked_s_ago) {
        (Some(latency), Some(ago)) => format!("in {latency:.0} ms, {} ago{before}", age(ago)),
        (None, Some(ago)) => format!("no, asked {} ago{before}", age(ago)),
        _ => "not asked yet".to_owned(),
    };
    let nodes = cluster
        .nodes
        .as_ref()
        .map_or("-".to_owned(), |nodes| format!("{} of {} ready", nodes.ready, nodes.total));
    Row {
        cells: vec![
            Cell::plain(&cluster.name),
            Cell::coloured(
                format!("{} for {}", cluster.reach, age(cluster.since_s)),
                hue(&cluster.reach),
            ),
            Cell::plain(answered),
            Cell::plain(nodes),
            Cell::plain(cluster.warnings.to_string()),
            Cell::plain(format!("{} of {} up", cluster.up, cluster.forwards)),
        ],
        below: below(cluster, colour),
    }
}

fn below(cluster: &ClusterStatus, colour: bool) -> Vec<String> {
    let mut lines = vec![];
    if let Some(problem) = &cluster.problem {
        lines.push(paint(colour, AnsiColor::Red, &problem.sentence));
        lines.push(format!("hint: {}", problem.hint));
    }
    if let Some(login) = &cluster.login {
        let how = login.command.as_ref().map(|command| format!(" (runs `{command}`)"));
        let name = &cluster.name;
        lines.push(match login.running {
            true => "a log-in is under way".to_owned(),
            false => format!("log in with `localport login {name}`{}", how.unwrap_or_default()),
        });
    }
    if !cluster.waiting.is_empty() {
        lines.push(format!("waiting for it: {}", cluster.waiting.join(", ")));
    }
    if let Some(nodes) = cluster.nodes.as_ref().filter(|nodes| !nodes.not_ready.is_empty()) {
        lines.push(format!("not ready: {}", nodes.not_ready.join(", ")));
    }
    if let Some(left) = cluster.expires_in_s {
        lines.push(format!("credentials end in {}", age(left)));
    }
    lines.extend(cluster.unseen.iter().cloned());
    lines
}

fn line(cluster: &str, event: &ClusterEvent, colour: bool) -> String {
    let ClusterEvent { namespace, object, reason, message, .. } = event;
    let time = clock::local_time(event.at);
    let times = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
    let near = match event.forwards.as_slice() {
        [] => String::new(),
        forwards => format!(" · near {}", forwards.join(", ")),
    };
    let reason = paint(colour, AnsiColor::Yellow, reason);
    format!("{time} {cluster} {namespace} {object} {reason}: {message}{times}{near}")
}

fn hue(reach: &str) -> AnsiColor {
    match reach {
        "reachable" => AnsiColor::Green,
        "unreachable" | "refused" => AnsiColor::Red,
        "login-needed" => AnsiColor::Yellow,
        _ => AnsiColor::BrightBlack,
    }
}
