//! Owns `status`: how the forwards stand, once or as it changes.

use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::table::{Cell, Row, lines};
use crate::output::{Output, age, bytes, paint};
use anstyle::AnsiColor;
use localport_core::command::Refusal;
use localport_core::shutdown::Stage;
use localport_core::snapshot::Root;
use localport_core::status::{DrainStatus, ForwardStatus, Status, TargetStatus, TunnelStatus};
use localport_engine::control::client::Client;
use localport_engine::home::Home;

const HEAD: [&str; 8] =
    ["NAME", "STATUS", "LOCAL", "TARGET", "TUNNEL", "ANSWERS", "CLIENTS", "UP / DOWN"];

/// `localport status`
pub(crate) async fn run(
    home: &Home,
    wanted: &args::Status,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let client = Client::new(home);
    if wanted.watch {
        return watch(&client, &wanted.names, output).await;
    }
    let status = chosen(client.get("/v1/status").await?, &wanted.names)?;
    show(&status, output)?;
    Ok(Exit::Done)
}

/// Shows each status that the host sends, until it ends.
async fn watch(
    client: &Client,
    names: &[String],
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let mut stream = client.events("/v1/status").await?;
    while let Some(message) = stream.message().await? {
        let status: Status = serde_json::from_str(&message.data).map_err(std::io::Error::from)?;
        let status = chosen(status, names)?;
        if output.json() {
            output.record(&status)?;
        } else {
            output.clear()?;
            show(&status, output)?;
        }
    }
    output.note("LocalPort has ended");
    Ok(Exit::NotRunning)
}

/// Only the forwards asked for; all of them when none is.
fn chosen(mut status: Status, names: &[String]) -> Result<Status, CommandError> {
    if names.is_empty() {
        return Ok(status);
    }
    for name in names {
        if !status.forwards.iter().any(|forward| forward.name == *name) {
            let known = status.forwards.iter().map(|forward| forward.name.as_str());
            let refusal = Refusal::unknown(name, known).to_string();
            let hint = "`localport status` lists the forwards";
            return Err(CommandError::new(Exit::Usage, "unknown-forward", refusal, hint));
        }
    }
    status.forwards.retain(|forward| names.contains(&forward.name));
    Ok(status)
}

fn show(status: &Status, output: &mut Output) -> std::io::Result<()> {
    if output.json() {
        return output.value(status);
    }
    let Status { phase, summary, pid, uptime_s, .. } = status;
    output.line(format!("{summary} · {phase}, process {pid}, up {}", age(*uptime_s)))?;
    if let Some(pending) = &status.pending {
        output.line(paint(output.colour(), AnsiColor::Yellow, &pending.sentence))?;
        output.line(format!("  hint: {}", pending.hint))?;
    }
    if status.forwards.is_empty() {
        return output.line("`localport config path` shows where a configuration is looked for");
    }
    output.line("")?;
    let colour = output.colour();
    let rows: Vec<Row> = status.forwards.iter().map(|forward| row(forward, colour)).collect();
    for line in lines(&HEAD, &rows, colour) {
        output.line(line)?;
    }
    let shown = |name: &String| status.forwards.iter().any(|forward| forward.name == *name);
    let roots = status.contexts.iter().flat_map(|context| &context.roots);
    for root in roots.filter(|root| root.forwards.iter().any(shown)) {
        cause(root, colour, output)?;
    }
    Ok(())
}

/// What several forwards wait for, once.
fn cause(root: &Root, colour: bool, output: &mut Output) -> std::io::Result<()> {
    let count = root.forwards.len();
    let wait = if count == 1 { "forward waits" } else { "forwards wait" };
    output.line("")?;
    output.line(format!("{}: {count} {wait}", root.name))?;
    if let Some(problem) = &root.problem {
        output.line(format!("  {}", paint(colour, AnsiColor::Red, &problem.sentence)))?;
        output.line(format!("  hint: {}", problem.hint))?;
    }
    Ok(())
}

fn row(forward: &ForwardStatus, colour: bool) -> Row {
    let ForwardStatus { connections, bytes: carried, .. } = forward;
    let held =
        if connections.held > 0 { format!(" +{} held", connections.held) } else { String::new() };
    let local = match forward.listener.state.as_str() {
        "conflict" => Cell::coloured(format!("{} taken", forward.local), AnsiColor::Red),
        "closed" => Cell::plain(format!("({})", forward.local)),
        _ => Cell::plain(&forward.local),
    };
    let below = match (&forward.because, &forward.problem) {
        (Some(cause), _) => {
            vec![paint(colour, AnsiColor::Yellow, &format!("because of `{}`", cause.name))]
        }
        (None, Some(problem)) => vec![
            paint(colour, AnsiColor::Red, &problem.sentence),
            format!("hint: {}", problem.hint),
        ],
        (None, None) => forward.drain.iter().map(drained).collect(),
    };
    Row {
        cells: vec![
            Cell::plain(&forward.name),
            Cell::coloured(&forward.word, hue(&forward.word)),
            local,
            Cell::plain(&forward.target),
            Cell::plain(tunnel(&forward.tunnel)),
            Cell::plain(target(&forward.target_health)),
            Cell::plain(format!("{}{held}", connections.open)),
            Cell::plain(format!("{} / {}", bytes(carried.up), bytes(carried.down))),
        ],
        below,
    }
}

/// Who had it drained, and what is left of that.
fn drained(drain: &DrainStatus) -> String {
    let since = age(drain.since_s);
    match (drain.stage, drain.left_ms) {
        (None, _) => format!("drained by a person {since} ago; `localport resume` brings it back"),
        (Some(Stage::CompleteCurrent), Some(left)) => {
            let left = age(left.div_ceil(1_000));
            format!("being drained by a person; what is open is cut in {left}")
        }
        (Some(_), _) => "being drained by a person".to_owned(),
    }
}

fn hue(word: &str) -> AnsiColor {
    match word {
        "serving" => AnsiColor::Green,
        "broken" => AnsiColor::Red,
        "off" | "drained" => AnsiColor::BrightBlack,
        _ => AnsiColor::Yellow,
    }
}

fn tunnel(tunnel: &TunnelStatus) -> String {
    match (tunnel.state.as_str(), tunnel.rtt_ms, tunnel.retry_in_s) {
        ("up", Some(rtt), _) => format!("up {rtt:.1} ms"),
        (state, _, Some(seconds)) => format!("{state}, next try in {}", age(seconds)),
        (state, ..) => state.to_owned(),
    }
}

fn target(target: &TargetStatus) -> String {
    let Some(seconds) = target.checked_s_ago else { return target.state.clone() };
    let before = if target.cached { ", from before" } else { "" };
    format!("{} {} ago{before}", target.state, age(seconds))
}
