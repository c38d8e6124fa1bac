//! Owns which adapters a host gives its engine.

use crate::adapter::{Adapter, Session, SessionScope};
use crate::home::Home;
use crate::registry::Registry;
use futures_util::future::BoxFuture;
use localport_core::config::Target;
use localport_core::problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;

/// How SSH is reached.
#[derive(Clone, Debug, Default)]
pub struct SshChoice {}

/// Ends what a crashed host left behind.
pub(super) async fn sweep(home: &Home) {
    let _ = home;
}

pub(super) fn ssh(_registry: &Registry, _home: &Home, _choice: SshChoice) -> Arc<dyn Adapter> {
    Arc::new(Away)
}

pub(super) fn kube(_registry: &Registry) -> Arc<dyn Adapter> {
    Arc::new(Away)
}

/// Stands in until the real ones are there.
struct Away;

impl Adapter for Away {
    fn open<'a>(
        &'a self,
        _target: &'a Target,
        _scope: SessionScope,
    ) -> BoxFuture<'a, Result<Arc<dyn Session>, Problem>> {
        Box::pin(async { Err(Problem::new(Code::SshUnreachable, "no adapter yet", "wait")) })
    }

    fn trust<'a>(&'a self, _target: &'a Target) -> BoxFuture<'a, Result<String, Problem>> {
        Box::pin(async { Err(Problem::new(Code::SshUnreachable, "no adapter yet", "wait")) })
    }

    fn shutdown(&self, _budget: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
