//! Owns the answers about clusters and SSH hosts as a whole.

use super::Shared;
use super::answer::{self, Answer};
use super::call::Call;
use localport_core::cluster::{ClusterEvents, Clusters};
use localport_core::command::{Command, Refusal};
use std::sync::Arc;

pub(super) async fn list(shared: Arc<Shared>, _call: Call) -> Answer {
    let engine = &shared.api.engine;
    let snapshot = engine.fresh().await;
    Ok(answer::json(&Clusters::of(&snapshot, engine.clock().now())))
}

pub(super) async fn events(shared: Arc<Shared>, call: Call) -> Answer {
    let engine = &shared.api.engine;
    let snapshot = engine.fresh().await;
    let known = || snapshot.contexts.iter().map(|context| context.name.as_str());
    let context = snapshot.contexts.iter().find(|context| context.name == call.name);
    let context = context.ok_or_else(|| Refusal::unknown_context(&call.name, known()))?;
    Ok(answer::json(&ClusterEvents {
        events: engine.cluster_events(&call.name),
        unseen: context.unseen.clone(),
        cluster: call.name,
    }))
}

pub(super) async fn login(shared: Arc<Shared>, call: Call) -> Answer {
    let done = shared.api.engine.command(Command::Login(call.name)).await?;
    Ok(answer::json(&done))
}
