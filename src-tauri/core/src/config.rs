//! Owns what a configuration means: the typed model, how text becomes it, and
//! every complaint with its place.

mod diagnostic;
mod model;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    ClusterHealth, Config, DEFAULT_HOLD, ForwardSpec, HealthCheck, HealthCheckKind, KubeResource,
    KubeTarget, PortRef, RestartPolicy, Secret, SshTarget, Target,
};
