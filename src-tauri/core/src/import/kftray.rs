//! Owns how kftray's JSON export is read.

use super::spec::{addresses, forward};
use super::{Import, Refusal};
use crate::config::{KubeResource, KubeTarget, PortRef, Target};
use serde::Deserialize;
use std::collections::BTreeSet;

/// One entry, as far as it means something here.
#[derive(Deserialize)]
struct Entry {
    alias: Option<String>,
    service: Option<String>,
    namespace: Option<String>,
    local_port: Option<u16>,
    local_address: Option<String>,
    remote_port: Option<u16>,
    context: Option<String>,
    workload_type: Option<String>,
    protocol: Option<String>,
    target: Option<String>,
    kubeconfig: Option<String>,
    domain_enabled: Option<bool>,
}

/// Reads an export: a list of forwards.
///
/// # Errors
/// When it is no such list.
pub fn kftray(text: &str) -> Result<Import, Refusal> {
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| {
        Refusal::new(
            format!("this is no export of kftray: {error}"),
            "export the configuration in kftray as JSON, and give that file",
        )
    })?;
    let mut import = Import::default();
    for (at, entry) in entries.into_iter().enumerate() {
        take(at + 1, entry, &mut import);
    }
    import.name_apart(&BTreeSet::new());
    Ok(import)
}

fn take(number: usize, entry: Entry, import: &mut Import) {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let words = some(&entry.alias).or(some(&entry.service)).or(some(&entry.target));
    let name = words.unwrap_or_else(|| format!("forward-{number}"));
    let kind = entry.workload_type.as_deref().unwrap_or("service");
    if entry.protocol.as_deref().is_some_and(|protocol| protocol.eq_ignore_ascii_case("udp")) {
        return import.remark(format!("`{name}` is left out: LocalPort forwards TCP only"));
    }
    let resource = match (kind, some(&entry.service), some(&entry.target)) {
        ("service", Some(service), _) => KubeResource::Service(service),
        ("pod", _, Some(labels)) => KubeResource::Selector(labels),
        ("pod", Some(pod), None) => KubeResource::Pod(pod),
        ("service" | "pod", ..) => {
            return import.remark(format!("`{name}` is left out: it names no service and no pod"));
        }
        (other, ..) => {
            return import.remark(format!(
                "`{name}` is left out: `{other}` would need a relay inside the cluster"
            ));
        }
    };
    let Some(remote) = entry.remote_port.filter(|port| *port > 0) else {
        return import.remark(format!("`{name}` is left out: it has no remote port"));
    };
    let target = KubeTarget {
        context: some(&entry.context),
        namespace: some(&entry.namespace).unwrap_or_else(|| "default".to_owned()),
        resource,
        port: PortRef::Number(remote),
        via: None,
    };
    let local = entry.local_port.filter(|port| *port > 0).unwrap_or(remote);
    let mut spec = forward(&name, local, Target::Kube(target));
    match addresses(entry.local_address.as_deref().unwrap_or_default()) {
        Ok(bind) => spec.bind = bind,
        Err(address) => import.remark(format!("`{name}`: the address `{address}` is left out")),
    }
    if entry.domain_enabled == Some(true) {
        import.remark(format!("`{name}`: its name in the hosts file is left out"));
    }
    if let Some(path) = some(&entry.kubeconfig).filter(|path| path != "default") {
        import
            .remark(format!("`{name}`: add `{path}` to KUBECONFIG, so that its context is found"));
    }
    import.forwards.push(spec);
}
