//! Owns which adapters a host gives its engine.

use crate::adapter::Adapter;
use crate::adapter::kube::{KubeAdapter, Options as KubeOptions};
use crate::adapter::ssh::{SshAdapter, SshOptions};
use crate::home::Home;
use crate::journal::Journal;
use crate::registry::Registry;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

/// How SSH is reached, as the environment says: `LOCALPORT_SSH` names another program
/// than `ssh`, `LOCALPORT_SSH_CONFIG` another file than the user's ssh_config.
#[must_use]
pub fn ssh_options() -> SshOptions {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let mut options = SshOptions::default();
    if let Some(program) = set("LOCALPORT_SSH") {
        options.ssh = PathBuf::from(program);
    }
    if let Some(file) = set("LOCALPORT_SSH_CONFIG") {
        options.extra_args = vec!["-F".into(), file];
    }
    options
}

/// The adapters for SSH and for Kubernetes; clusters behind SSH hosts are reached through
/// the connections of the first.
pub(super) fn both(
    registry: &Registry,
    home: &Home,
    journal: Journal,
    options: SshOptions,
) -> (Arc<dyn Adapter>, Arc<dyn Adapter>) {
    let ssh = Arc::new(SshAdapter::new(registry, home, journal, options));
    let kube = KubeAdapter::new(registry, KubeOptions::default()).behind(ssh.clone());
    (ssh, Arc::new(kube))
}
