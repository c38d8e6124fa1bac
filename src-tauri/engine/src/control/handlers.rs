//! Owns the answers that are one JSON value each.

use super::Shared;
use super::answer::{self, Answer, Failure};
use super::call::Call;
use super::streams;
use crate::handle::EngineHandle;
use crate::registry::{LeaseInfo, LeaseKind};
use hyper::StatusCode;
use localport_core::command::{Command, Done, Drain, Refusal, Selector};
use localport_core::config::reload::Who;
use localport_core::metrics::{self, Facts};
use localport_core::parts::PartReceipt;
use localport_core::receipt::{Check, Receipt};
use localport_core::regression::RECENT;
use localport_core::shutdown::Reason;
use localport_core::snapshot::Phase;
use localport_core::status::{ForwardStatus, Status};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Shutdowns in an answer that asks for no number.
const SHUTDOWNS: u32 = 50;

/// Body of `quit`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quit {
    /// Whether to answer only when everything is released.
    #[serde(default)]
    pub(super) wait: bool,
}

/// Answer of `quit`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Quitting {
    /// How it went; none when the answer came before the end.
    pub stopped: Option<Receipt>,
}

/// Body of `drain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainPart {
    selector: Selector,
    #[serde(default)]
    within_ms: Option<u64>,
    /// Whether to answer only when everything of it is drained.
    #[serde(default)]
    wait: bool,
}

/// Answer of `drain`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Drained {
    /// The forwards it is about.
    pub forwards: Vec<String>,
    /// One sentence more, where there is something to say.
    pub message: Option<String>,
    /// How it went; none when the answer came before the end.
    pub drained: Option<PartReceipt>,
}

/// Answer of `resources`.
#[derive(Serialize)]
pub(super) struct Resources {
    pub(super) resources: Vec<LeaseInfo>,
}

/// Answer of `resources --verify`.
#[derive(Serialize)]
pub(super) struct Inspected {
    pub(super) checks: Vec<Check>,
    /// What could not be looked at.
    pub(super) unseen: Option<String>,
}

/// An answer without content.
#[derive(Serialize)]
pub(super) struct Empty {}

pub(super) async fn status(shared: Arc<Shared>, call: Call) -> Answer {
    if call.accepts(streams::SSE) {
        return streams::status(shared);
    }
    Ok(answer::json(&current(&shared).await))
}

pub(super) async fn status_of_one(shared: Arc<Shared>, call: Call) -> Answer {
    let snapshot = shared.api.engine.fresh().await;
    let now = shared.api.engine.clock().now();
    match snapshot.forwards.iter().find(|forward| forward.name == call.name) {
        Some(forward) => Ok(answer::json(&ForwardStatus::of(forward, now))),
        None => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "unknown-forward",
            format!("there is no forward `{}`", call.name),
            "`localport status` lists the forwards",
        )),
    }
}

pub(super) async fn snapshot(shared: Arc<Shared>, _call: Call) -> Answer {
    Ok(answer::json(&*shared.api.engine.fresh().await))
}

pub(super) async fn resources(shared: Arc<Shared>, _call: Call) -> Answer {
    Ok(answer::json(&Resources { resources: shared.api.engine.resources() }))
}

pub(super) async fn inspect(shared: Arc<Shared>, _call: Call) -> Answer {
    let (baseline, engine) = (&shared.api.baseline, &shared.api.engine);
    let checks = baseline.inspect(&engine.registry).await;
    let unseen = baseline.unseen(&checks);
    Ok(answer::json(&Inspected { checks, unseen }))
}

pub(super) async fn shutdowns(shared: Arc<Shared>, call: Call) -> Answer {
    let limit = call.number("limit")?.unwrap_or(SHUTDOWNS);
    match shared.api.store.history(limit).await {
        Ok(history) => Ok(answer::json(&history)),
        Err(error) => Err(Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "history-unreadable",
            error.to_string(),
            "it is only the history: forwards do not depend on it",
        )),
    }
}

pub(super) async fn metrics(shared: Arc<Shared>, _call: Call) -> Answer {
    let engine = &shared.api.engine;
    let snapshot = engine.fresh().await;
    let leases: Vec<LeaseKind> = engine.resources().iter().map(|lease| lease.kind).collect();
    // The page itself says that the history cannot be read.
    let history = shared.api.store.history(RECENT).await.ok();
    let facts = Facts {
        snapshot: &snapshot,
        now: engine.clock().now(),
        leases: &leases,
        history: history.as_ref().map(|history| (&history.shutdowns[..], history.totals)),
    };
    Ok(answer::text(metrics::MEDIA, metrics::page(&facts)))
}

pub(super) async fn config(shared: Arc<Shared>, _call: Call) -> Answer {
    let snapshot = shared.api.engine.snapshot().borrow().clone();
    Ok(answer::json(&snapshot.config))
}

/// Body of `reload`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadAsk {
    /// Only say what would change.
    #[serde(default)]
    pub(super) dry: bool,
    /// Whether a rollback wrote the files.
    #[serde(default)]
    pub(super) rollback: bool,
}

pub(super) async fn reload(shared: Arc<Shared>, call: Call) -> Answer {
    let ReloadAsk { dry, rollback } = call.json_or_default()?;
    let who = if rollback { Who::Rollback } else { Who::Command };
    Ok(answer::json(&shared.api.reload.reload(who, dry).await?))
}

pub(super) async fn start(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::Start(call.json::<Selector>()?)).await
}

pub(super) async fn stop(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::Stop(call.json::<Selector>()?)).await
}

pub(super) async fn restart(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::Restart(call.json::<Selector>()?)).await
}

pub(super) async fn retry(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::RetryNow(call.json::<Selector>()?)).await
}

pub(super) async fn drain(shared: Arc<Shared>, call: Call) -> Answer {
    let DrainPart { selector, within_ms, wait } = call.json()?;
    let draining = shared.api.engine.drain(Drain { selector, within_ms }).await?;
    let Done { forwards, message } = draining.done.clone();
    if !wait {
        let mut response = answer::json(&Drained { forwards, message, drained: None });
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    }
    // Without a receipt the engine has ended before the drain has.
    let drained = Some(draining.over().await.ok_or(Refusal::Quitting)?);
    Ok(answer::json(&Drained { forwards, message, drained }))
}

pub(super) async fn resume(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::Resume(call.json::<Selector>()?)).await
}

pub(super) async fn trust_host_key(shared: Arc<Shared>, call: Call) -> Answer {
    command(&shared, Command::TrustHostKey(call.name)).await
}

pub(super) async fn quit(shared: Arc<Shared>, call: Call) -> Answer {
    let Quit { wait } = call.json_or_default()?;
    tracing::info!("asked to quit over the control API");
    shared.api.engine.quit(Reason::Api);
    if !wait {
        let mut response = answer::json(&Quitting { stopped: None });
        *response.status_mut() = StatusCode::ACCEPTED;
        return Ok(response);
    }
    let mut released = shared.api.released.clone();
    let report = tokio::select! {
        // An error means that the host ended without a report; the engine's own is as good.
        report = released.wait_for(Option::is_some) => report.map(|report| report.clone()),
        () = called_off(&shared.api.engine) => {
            return Err(Failure::new(
                StatusCode::CONFLICT,
                "called-off",
                "the end was called off; LocalPort goes on".to_owned(),
                "ask again with `localport quit`",
            ));
        }
    };
    let stopped = match report {
        Ok(stopped) => stopped,
        Err(_) => Some(shared.api.engine.stopped().await),
    };
    Ok(answer::json(&Quitting { stopped }))
}

pub(super) async fn cancel_quit(shared: Arc<Shared>, _call: Call) -> Answer {
    command(&shared, Command::CancelQuit).await
}

pub(super) async fn hurry_quit(shared: Arc<Shared>, _call: Call) -> Answer {
    command(&shared, Command::HurryQuit).await
}

/// Resolves when an end that was begun is called off.
async fn called_off(engine: &EngineHandle) {
    let mut snapshots = engine.snapshot();
    for phases in [[Phase::Draining, Phase::Stopped], [Phase::Running, Phase::Running]] {
        if snapshots.wait_for(|snapshot| phases.contains(&snapshot.phase)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) async fn window(shared: Arc<Shared>, _call: Call) -> Answer {
    let Some(open) = &shared.api.open_window else {
        return Err(Failure::new(
            StatusCode::CONFLICT,
            "no-window",
            "LocalPort runs without a desktop here".to_owned(),
            "end it with `localport quit`, then start the desktop app",
        ));
    };
    // A full channel means that opening is already asked for.
    let _ = open.try_send(());
    let mut response = answer::json(&Empty {});
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// How everything stands now.
pub(super) async fn current(shared: &Shared) -> Status {
    let snapshot = shared.api.engine.fresh().await;
    Status::of(&snapshot, shared.api.engine.clock().now())
}

async fn command(shared: &Shared, command: Command) -> Answer {
    let done = shared.api.engine.command(command).await?;
    Ok(answer::json(&done))
}
