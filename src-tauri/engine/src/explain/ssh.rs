//! Owns the walk to an SSH host and through it.

use super::{Explainer, OWNER, named, prove, timed};
use crate::adapter::Adapter;
use crate::adapter::ssh::SshAdapter;
use crate::adapter::ssh::walk::Resolved;
use crate::registry::Tasks;
use localport_core::config::{SshTarget, Target};
use localport_core::diagnosis::{Step, Walk};
use localport_core::problem::Problem;

impl Explainer {
    pub(super) async fn ssh(&self, walk: &mut Walk, adapter: &SshAdapter, target: &SshTarget) {
        if !reached(walk, adapter, target).await {
            return;
        }
        let tasks = Tasks::new(OWNER, &self.registry);
        let wanted = Target::Ssh(target.clone());
        let (took, opened) = timed(adapter.open(&wanted, self.scope(&tasks))).await;
        match opened {
            Err(problem) => walk.settle(Step::Auth, took, problem),
            Ok(session) => {
                walk.ok(Step::HostKey, None, "accepted");
                walk.ok(Step::Auth, Some(took), format!("logged in to {}", target.destination()));
                if walk.has(Step::Target) {
                    prove(walk, &session, Step::Target).await;
                }
            }
        }
    }
}

/// From ssh_config to a server that greets, the first jump host where there is one.
async fn reached(walk: &mut Walk, adapter: &SshAdapter, target: &SshTarget) -> bool {
    let (took, resolved) = timed(adapter.resolve(target)).await;
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(problem) => return failed(walk, Step::SshConfig, took, problem),
    };
    walk.ok(Step::SshConfig, Some(took), applied(&resolved));
    let first = match resolved.jumps.first() {
        Some(jump) => match timed(adapter.resolve_jump(jump)).await {
            (_, Ok(first)) => first,
            (took, Err(problem)) => return failed(walk, Step::Dns, took, problem),
        },
        None => resolved.clone(),
    };
    if resolved.by_command || first.by_command {
        let why = "a `ProxyCommand` makes the connection";
        for step in [Step::Dns, Step::Tcp, Step::Greeting] {
            walk.skip(step, why);
        }
        return true;
    }
    let role = if resolved.jumps.is_empty() { "" } else { "jump host " };
    let (took, found) = timed(first.addresses()).await;
    let addresses = match found {
        Ok(found) => found,
        Err(problem) => return failed(walk, Step::Dns, took, problem),
    };
    walk.ok(Step::Dns, Some(took), format!("{role}{}", named(&first.host, &addresses)));
    let (took, connected) = timed(first.connect(&addresses)).await;
    let stream = match connected {
        Ok(stream) => stream,
        Err(problem) => return failed(walk, Step::Tcp, took, problem),
    };
    walk.ok(Step::Tcp, Some(took), format!("{role}{}", first.words()));
    let (took, greeted) = timed(first.greeting(stream)).await;
    match greeted {
        Ok(version) => walk.ok(Step::Greeting, Some(took), version),
        Err(problem) => return failed(walk, Step::Greeting, took, problem),
    }
    true
}

fn failed(walk: &mut Walk, step: Step, took: std::time::Duration, problem: Problem) -> bool {
    walk.fail(step, Some(took), problem);
    false
}

/// What applies, and where it is written.
fn applied(resolved: &Resolved) -> String {
    let mut said = format!("{}@{}", resolved.user, resolved.words());
    if !resolved.jumps.is_empty() {
        said.push_str(&format!(" through {}", resolved.jumps.join(", ")));
    }
    if !resolved.applied.is_empty() {
        said.push_str(&format!(" ({})", resolved.applied.join(", ")));
    }
    said
}
