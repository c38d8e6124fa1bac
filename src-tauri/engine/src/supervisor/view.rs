//! Owns how a forward looks in the snapshot.

use super::Supervisor;
use crate::adapter::kube::CURRENT;
use crate::engine::board;
use localport_core::config::{ForwardSpec, Target};
use localport_core::forward::State;
use localport_core::health::Means;
use localport_core::snapshot::{
    Forward, ListenerFact, TargetFact, TargetState, Technology, TunnelFact, TunnelState,
};
use std::time::Duration;

/// The Kubernetes context or the SSH destination that a forward goes through.
pub(crate) fn context(spec: &ForwardSpec) -> String {
    match &spec.target {
        Target::Kube(kube) => kube.context.clone().unwrap_or_else(|| CURRENT.to_owned()),
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
            because: None,
        }
    }

    fn tunnel(&self) -> TunnelFact {
        let (route, view) = (self.route.as_ref(), self.seat.view());
        let state = self.state.tunnel();
        let current = self.is_current(view.generation) && state == TunnelState::Up;
        let round_trip = view.round_trip.filter(|_| current);
        TunnelFact {
            state,
            path: route.map(|route| route.path.to_string()),
            endpoint: route.map(|route| route.endpoint.clone()),
            rtt_ms: round_trip.map(|(time, _)| millis(time)),
            measured: round_trip.map(|(_, at)| at),
            retry_at: self.state.retry_at(),
        }
    }

    fn target(&self) -> TargetFact {
        let view = self.seat.view();
        let health = &view.health;
        let open = self.has_session();
        let stopping = matches!(self.state, State::Stopping { .. });
        let cached = stopping || !self.is_current(view.generation) || health.is_cached();
        let proof = health.proof();
        TargetFact {
            // Without a session nothing can be told.
            state: if open { health.target() } else { TargetState::Unknown },
            checked: health.checked(),
            fresh_until: health.fresh_until(&self.check.settings).filter(|_| open && !cached),
            check: self.check.kind().to_owned(),
            proof: proof.map(|proof| match proof.means {
                Means::Probe => self.check.kind().to_owned(),
                Means::Traffic => "traffic".to_owned(),
            }),
            took_ms: proof.and_then(|proof| proof.took()).map(millis),
            failures: health.failures(),
            next: health.due().filter(|_| open && !stopping),
            cached: cached && health.checked().is_some(),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
