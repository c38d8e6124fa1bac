//! Owns how a forward looks in the snapshot.

use super::{Supervisor, attempt};
use crate::engine::board;
use localport_core::config::{ForwardSpec, Target};
use localport_core::snapshot::{
    Forward, ListenerFact, TargetFact, TargetState, Technology, TunnelFact,
};

/// The Kubernetes context or the SSH destination that a forward goes through.
pub(crate) fn context(spec: &ForwardSpec) -> String {
    match &spec.target {
        Target::Kube(kube) => kube.context.clone().unwrap_or_else(|| "current context".to_owned()),
        Target::Ssh(ssh) => ssh.destination(),
    }
}

impl Supervisor {
    pub(super) fn view(&self) -> Forward {
        let spec = &self.spec;
        Forward {
            name: spec.name.clone(),
            technology: match spec.target {
                Target::Kube(_) => Technology::Kubectl,
                Target::Ssh(_) => Technology::Ssh,
            },
            context: self.context.clone(),
            tags: spec.tags.clone(),
            description: spec.description.clone(),
            wanted: self.state.wanted(),
            // The engine knows, which has it drained.
            drain: None,
            state: self.state.name(),
            since: self.since,
            local: self.port.local(),
            target: spec.target_words(),
            listener: ListenerFact { state: self.port.name(), addresses: self.port.addresses() },
            tunnel: self.tunnel(),
            target_health: self.target(),
            connections: board::connections(&self.counters),
            bytes: board::bytes(&self.counters),
            problem: self.port.problem().or(self.state.problem()).cloned(),
        }
    }

    fn tunnel(&self) -> TunnelFact {
        let route = self.facts.route.as_ref();
        TunnelFact {
            state: self.state.tunnel(),
            path: route.map(|route| route.path.to_owned()),
            endpoint: route.map(|route| route.endpoint.clone()),
            rtt_ms: self.facts.round_trip.map(|(time, _)| time.as_secs_f64() * 1000.0),
            measured: self.facts.round_trip.map(|(_, at)| at),
            retry_at: self.state.retry_at(),
        }
    }

    fn target(&self) -> TargetFact {
        let (state, checked) = match self.facts.target {
            Some((state, checked)) => (state, Some(checked)),
            None => (TargetState::Unknown, None),
        };
        let fresh = attempt::interval(self.spec.health_check.as_ref()) * 2;
        TargetFact { state, checked, fresh_until: checked.map(|at| at + fresh) }
    }
}
