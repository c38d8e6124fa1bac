//! Owns the answers to `explain` and `history`: the walk along a forward's way, and how it
//! stood over time.

use super::Shared;
use super::answer::{self, Answer, Failure};
use super::call::Call;
use hyper::StatusCode;
use localport_core::command::Refusal;
use localport_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// `GET /v1/explain/{name}`.
pub(super) async fn explain(shared: Arc<Shared>, call: Call) -> Answer {
    let api = &shared.api;
    let asked = tokio::select! {
        asked = api.explainer.ask(&api.engine, &call.name, call.flag("login")) => asked?,
        // The last answers do not wait for a walk.
        () = shared.ending.cancelled() => return Err(Refusal::Quitting.into()),
    };
    let Some(diagnosis) = asked else {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "unknown-forward",
            format!("there is no forward and no context `{}`", call.name),
            "`localport status` lists the forwards; one with errors is named by `localport config check`",
        ));
    };
    Ok(answer::json(&diagnosis))
}

/// `GET /v1/history/{name}`.
pub(super) async fn history(shared: Arc<Shared>, call: Call) -> Answer {
    let api = &shared.api;
    let now = api.engine.clock().now();
    let since = call.number::<u64>("since_s")?.map(Duration::from_secs);
    let since = since.map_or(Timestamp::default(), |since| now - since);
    let account = api.store.account(&call.name, since, now).await.map_err(|error| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "history-unreadable",
            error.to_string(),
            "it is only the history: forwards do not depend on it",
        )
    })?;
    let snapshot = api.engine.snapshot().borrow().clone();
    let names = || snapshot.forwards.iter().map(|forward| forward.name.as_str());
    if account.standing.is_none() && !names().any(|name| name == call.name) {
        return Err(Refusal::unknown(&call.name, names()).into());
    }
    Ok(answer::json(&account))
}
