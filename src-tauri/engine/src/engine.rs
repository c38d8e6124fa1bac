//! Owns the one loop: sole writer of the snapshot.

use crate::adapter::Adapter;
use crate::handle::EngineHandle;
use crate::registry::Registry;
use localport_core::config::Config;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What an engine is started with.
pub struct Options {
    /// What to run.
    pub config: Config,
    /// Places looked at for a configuration, for people when none was found.
    pub searched: Vec<PathBuf>,
    /// Carries forwards behind SSH hosts.
    pub ssh: Arc<dyn Adapter>,
    /// Carries forwards into clusters.
    pub kube: Arc<dyn Adapter>,
    /// The account that the adapters claim from as well.
    pub registry: Registry,
    /// How long open connections may finish when the engine quits.
    pub drain: Duration,
}

/// Time open connections get when the engine quits.
pub const DRAIN: Duration = Duration::from_secs(8);

/// Starts an engine on the current tokio runtime.
#[must_use]
pub fn start(options: Options) -> EngineHandle {
    let _ = options;
    todo!("written next")
}
