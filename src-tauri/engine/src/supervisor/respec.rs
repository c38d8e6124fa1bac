//! Owns how a forward becomes what the configuration says now, while it carries traffic.
//!
//! Receives a new spec, moves only what changed, and says when that is done.

use super::{Supervisor, view};
use crate::adapter::Adapter;
use crate::listener::Pool;
use crate::probe::Check;
use localport_core::config::{ForwardSpec, Moves};
use localport_core::forward::{Input, State};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Sockets that a forward gave up, bound as they are.
pub(crate) type Vacated = Vec<Arc<TcpListener>>;

/// What a forward becomes.
pub(crate) struct Respec {
    pub(crate) spec: ForwardSpec,
    /// What carries the new target.
    pub(crate) adapter: Arc<dyn Adapter>,
    /// Sockets that others gave up.
    pub(crate) pool: Pool,
    /// Switches the forward; none leaves it as it is.
    pub(crate) on: Option<bool>,
    /// Told when everything has moved.
    pub(crate) done: oneshot::Sender<()>,
}

impl Supervisor {
    pub(super) async fn vacate(&mut self, reply: oneshot::Sender<Vacated>) {
        // Whoever asked may have gone; the sockets close then.
        let _ = reply.send(self.port.vacate().await);
    }

    pub(super) async fn respec(&mut self, respec: Respec) {
        let Respec { spec, adapter, pool, on, done } = respec;
        let moves = Moves::between(&self.spec, &spec);
        if self.spec.name != spec.name {
            // Listener and tasks are held in the name of the forward.
            pool.add(self.port.vacate().await);
        }
        self.context = view::context(&spec);
        self.spec = spec;
        self.specs.send_replace(Arc::new(self.spec.clone()));
        self.adapter = adapter;
        self.recheck().await;
        self.port.aim(&self.spec, pool);
        if on == Some(false) {
            self.apply(Input::Stop).await;
        }
        if self.state.wanted() {
            self.move_over(moves).await;
        }
        if on == Some(true) {
            self.apply(Input::Start).await;
        }
        self.report().await;
        // Whoever asked may have gone.
        let _ = done.send(());
    }

    /// Has the target proved as the configuration says now.
    async fn recheck(&mut self) {
        let check = Arc::new(Check::of(&self.spec));
        if *check != *self.check {
            self.check = check.clone();
            self.seat.check(check).await;
        }
    }

    /// Listens where it should, and opens a new session if the target is another.
    async fn move_over(&mut self, moves: Moves) {
        if self.port.is_closed() {
            self.listen().await;
        }
        let gave_up = matches!(self.state, State::Failed { until: None, .. });
        if moves.session {
            if self.has_session()
                && let Some(attempt) = self.attempt.take()
            {
                attempt.retire(&self.spec.name, &self.shared);
            }
            self.apply(Input::Restart).await;
        } else if moves.policy && gave_up {
            self.apply(Input::RetryNow).await;
        }
    }
}
