//! Owns what can be decided about Kubernetes without asking it: which pod serves a
//! target, which of its ports, and what a failure means for a person.
//!
//! Receives plain values that the adapter converted from the API's objects; emits
//! choices and problems.

mod choice;
mod fault;
mod pool;
mod proxy;
mod resolve;
mod selector;
mod slices;
mod token;
mod way;

pub use choice::{Choice, PodPort, Unfit, choose, service_port};
pub use fault::{Fault, Place, Right, TlsFault, dial_failed, nearest, problem};
pub use pool::{Pick, PoolLimits, TunnelView, pick};
pub use proxy::{Proxy, ProxyEnv, Scheme, Server, choose_proxy};
pub use resolve::{Known, resolve};
pub use selector::{Requirement, Selector};
pub use slices::{pods_in, resolve_among};
pub use token::{Age, age, token_expiry};
pub use way::{Refusal, Verdict, Way, begin, fall_back};

use crate::config::PortRef;
use std::collections::BTreeMap;

/// A pod, as far as choosing needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Name, unique in its namespace at one time.
    pub name: String,
    /// Unique for ever: a pod that comes back under its name has another one.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its `Ready` condition holds.
    pub ready: bool,
    /// Whether it has been told to end.
    pub terminating: bool,
    /// When it was created, in seconds since the Unix epoch.
    pub created: i64,
    /// TCP ports that its containers declare.
    pub ports: Vec<ContainerPort>,
    /// Why it is not ready, in Kubernetes' own word, such as `CrashLoopBackOff`.
    pub waiting: Option<String>,
}

/// A TCP port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Name, if it has one.
    pub name: Option<String>,
    /// Number.
    pub number: u16,
}

/// A service, as far as choosing needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: String,
    /// Labels of the pods behind it; empty when it has no selector.
    pub selector: BTreeMap<String, String>,
    /// The host outside the cluster, for a service of type ExternalName.
    pub external_name: Option<String>,
    /// Its TCP ports.
    pub ports: Vec<ServicePort>,
}

/// A TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, if it has one.
    pub name: Option<String>,
    /// The port that the service shows.
    pub number: u16,
    /// The pod's port behind it, by number or by the container port's name.
    pub target: PortRef,
}

/// Some of the pods behind a service, as the service's own controller sees them
/// (`discovery.k8s.io/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The service.
    pub service: String,
    /// Its TCP ports by the name that the service gives them, with the number inside
    /// these pods.
    pub ports: Vec<ContainerPort>,
    /// The pods.
    pub pods: Vec<SlicePod>,
}

/// A pod in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePod {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether it takes connections.
    pub ready: bool,
    /// Whether it has been told to end.
    pub terminating: bool,
}
