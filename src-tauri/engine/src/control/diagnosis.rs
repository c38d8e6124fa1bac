//! Owns the answer to `explain`: what is known of the forward, and the walk along its way.

use super::Shared;
use super::answer::{self, Answer, Failure};
use super::call::Call;
use hyper::StatusCode;
use localport_core::command::Refusal;
use localport_core::diagnosis::Subject;
use std::sync::Arc;

/// `GET /v1/explain/{name}`.
pub(super) async fn explain(shared: Arc<Shared>, call: Call) -> Answer {
    let api = &shared.api;
    let config = api.engine.in_force().await.ok_or(Refusal::Quitting)?;
    let Some(subject) = Subject::find(&call.name, &config.forwards) else {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "unknown-forward",
            format!("there is no forward and no context `{}`", call.name),
            "`localport status` lists the forwards; one with errors is named by `localport config check`",
        ));
    };
    let snapshot = api.engine.fresh().await;
    let live = snapshot.forwards.iter().find(|forward| forward.name == subject.spec.name);
    let origin = crate::explain::origin(&config, &subject);
    let diagnosis = tokio::select! {
        diagnosis = api.explainer.explain(subject, live, origin, call.flag("login")) => diagnosis,
        // The last answers do not wait for a walk.
        () = shared.ending.cancelled() => return Err(Refusal::Quitting.into()),
    };
    Ok(answer::json(&diagnosis))
}
