//! Owns what a configuration means: the typed model, how text becomes it, and
//! every complaint with its place. Receives texts and the machine's answers,
//! emits a [`Config`]; opens no file and asks no environment itself.

mod checks;
mod clash;
mod cluster;
mod connection;
mod cx;
mod diagnostic;
pub mod diff;
mod fields;
mod load;
mod mask;
mod model;
mod notifications;
pub mod reload;
mod restart;
mod rule;
mod scalars;
mod service;
mod show;
mod shutdown;
mod source;
mod tree;
mod values;
mod words;
mod yaml;

pub use diagnostic::{Diagnostic, Severity};
pub use diff::{Change, Moves, Plan, diff};
pub use load::load;
pub use model::{
    ClusterHealth, Config, DEFAULT_HOLD, ForwardSpec, HealthCheck, HealthCheckKind, KubeResource,
    KubeTarget, Origin, PortRef, RestartPolicy, Secret, SshHost, SshTarget, Target, TlsCheck,
};
pub use rule::Rule;
pub use source::{Env, FileState, Source, search_order};
