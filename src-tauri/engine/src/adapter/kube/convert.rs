//! Owns the edge between the API's objects and the plain values that decisions use.
//!
//! What is not converted is dropped, so a watched namespace costs its names, labels,
//! states and ports, and no more.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use localport_core::config::PortRef;
use localport_core::kube::{
    ContainerPort, Pod, Requirement, Selector, Service, ServicePort, Slice, SlicePod,
};

/// The pod under its name.
pub(super) fn pod(from: api::Pod) -> Option<(String, Pod)> {
    let meta = from.metadata;
    let name = meta.name?;
    let status = from.status.unwrap_or_default();
    let terminating = meta.deletion_timestamp.is_some();
    let ready = condition(&status, "Ready");
    let waiting = if ready { None } else { Some(waiting(&status)) };
    let pod = Pod {
        name: name.clone(),
        uid: meta.uid.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        ready,
        terminating,
        created: meta.creation_timestamp.map_or(0, |time| time.0.as_second()),
        ports: from.spec.map(ports).unwrap_or_default(),
        waiting,
    };
    Some((name, pod))
}

/// The service under its name.
pub(super) fn service(from: api::Service) -> Option<(String, Service)> {
    let name = from.metadata.name?;
    let spec = from.spec.unwrap_or_default();
    let outside = spec.type_.as_deref() == Some("ExternalName");
    let service = Service {
        name: name.clone(),
        selector: spec.selector.unwrap_or_default(),
        external_name: spec.external_name.filter(|_| outside),
        ports: spec.ports.unwrap_or_default().into_iter().filter_map(service_port).collect(),
    };
    Some((name, service))
}

/// The slice under its name; none where it is not of pods.
pub(super) fn slice(from: discovery::EndpointSlice) -> Option<(String, Slice)> {
    let service = from.metadata.labels?.remove("kubernetes.io/service-name")?;
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|name| name == "TCP");
    let ports = from.ports.unwrap_or_default().into_iter().filter(|port| tcp(&port.protocol));
    let ports = ports.filter_map(|port| {
        let name = port.name.filter(|name| !name.is_empty());
        Some(ContainerPort { name, number: u16::try_from(port.port?).ok()? })
    });
    let pods = from.endpoints.unwrap_or_default().into_iter().filter_map(|endpoint| {
        let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"))?;
        let conditions = endpoint.conditions.unwrap_or_default();
        Some(SlicePod {
            name: pod.name?,
            uid: pod.uid.unwrap_or_default(),
            // Unknown counts as ready, says the API.
            ready: conditions.ready.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
        })
    });
    let slice = Slice { service, ports: ports.collect(), pods: pods.collect() };
    Some((from.metadata.name?, slice))
}

/// A workload's selector.
pub(super) fn selector(from: &LabelSelector) -> Selector {
    let mut selector = Selector::labels(from.match_labels.as_ref().unwrap_or(&Default::default()));
    for expression in from.match_expressions.iter().flatten() {
        let key = expression.key.clone();
        let values = expression.values.clone().unwrap_or_default();
        selector.0.push(match expression.operator.as_str() {
            "In" => Requirement::In(key, values),
            "NotIn" => Requirement::NotIn(key, values),
            "DoesNotExist" => Requirement::Missing(key),
            _ => Requirement::Exists(key),
        });
    }
    selector
}

fn service_port(from: api::ServicePort) -> Option<ServicePort> {
    if from.protocol.is_some_and(|protocol| protocol != "TCP") {
        return None;
    }
    let number = u16::try_from(from.port).ok()?;
    let target = match from.target_port {
        None => PortRef::Number(number),
        Some(IntOrString::Int(target)) => PortRef::Number(u16::try_from(target).ok()?),
        // The API also takes numbers written as text.
        Some(IntOrString::String(name)) => {
            name.parse().map_or_else(|_| PortRef::Name(name), PortRef::Number)
        }
    };
    Some(ServicePort { name: from.name, number, target })
}

fn ports(spec: api::PodSpec) -> Vec<ContainerPort> {
    // Sidecars are init containers that go on running; their ports count as well.
    let sidecars = spec
        .init_containers
        .into_iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .into_iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.unwrap_or_default())
        .filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| {
            Some(ContainerPort {
                name: port.name,
                number: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}

fn condition(status: &api::PodStatus, wanted: &str) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == wanted && c.status == "True")
}

/// Kubernetes' own word for why the pod is not ready: a container's, else the pod's.
fn waiting(status: &api::PodStatus) -> String {
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    let container = containers
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
        // What a container waits for in the normal course tells less than the phase.
        .find(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"));
    let unschedulable = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False")
        .and_then(|c| c.reason.as_deref());
    let reason = container.or(status.reason.as_deref()).or(unschedulable);
    match (reason, status.phase.as_deref()) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some("Running") | None) => "not ready".to_owned(),
        (None, Some("Succeeded")) => "Completed".to_owned(),
        (None, Some(phase)) => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn from(value: serde_json::Value) -> Pod {
        pod(serde_json::from_value(value).unwrap()).unwrap().1
    }

    #[test]
    fn a_pod_keeps_what_choosing_needs() {
        let pod = from(json!({
            "metadata": {"name": "a", "uid": "u", "labels": {"app": "x"},
                "creationTimestamp": "1970-01-01T00:00:07Z",
                "deletionTimestamp": "1970-01-01T00:00:09Z"},
            "spec": {
                "initContainers": [
                    {"name": "once", "ports": [{"containerPort": 1}]},
                    {"name": "mesh", "restartPolicy": "Always", "ports": [{"containerPort": 2}]}],
                "containers": [{"name": "c", "ports": [
                    {"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
        assert!(pod.ready && pod.terminating);
        assert_eq!((pod.created, pod.labels["app"].as_str()), (7, "x"));
        let numbers: Vec<u16> = pod.ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers, [80, 2]);
        assert_eq!(pod.waiting, None);
    }

    #[test]
    fn why_a_pod_waits_is_said_in_kubernetes_words() {
        let waits = |reason: &str| {
            json!({"name": "c", "ready": false, "image": "", "imageID": "",
            "restartCount": 0, "state": {"waiting": {"reason": reason}}})
        };
        let table = [
            (
                json!({"phase": "Running", "containerStatuses": [waits("CrashLoopBackOff")]}),
                "CrashLoopBackOff",
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [waits("ImagePullBackOff")]}),
                "ImagePullBackOff",
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [waits("ContainerCreating")]}),
                "Pending",
            ),
            (
                json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}),
                "Unschedulable",
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
            (json!({"phase": "Succeeded"}), "Completed"),
            (json!({"phase": "Running"}), "not ready"),
        ];
        for (status, expected) in table {
            let pod = from(json!({"metadata": {"name": "a"}, "status": status}));
            assert_eq!(pod.waiting.as_deref(), Some(expected));
        }
    }

    #[test]
    fn service_ports_lead_to_numbers_names_and_numbers_as_text() {
        let value = json!({"metadata": {"name": "s"}, "spec": {
            "externalName": "ignored.unless.that.type",
            "ports": [{"port": 80}, {"port": 81, "targetPort": 8081},
                {"port": 82, "targetPort": "http"}, {"port": 83, "targetPort": "8083"},
                {"port": 53, "protocol": "UDP"}]}});
        let service = service(serde_json::from_value(value).unwrap()).unwrap().1;
        let targets: Vec<String> =
            service.ports.iter().map(|port| port.target.to_string()).collect();
        assert_eq!(targets, ["80", "8081", "http", "8083"]);
        assert_eq!(service.external_name, None);
        assert!(matches!(service.ports[3].target, PortRef::Number(8083)));
    }

    #[test]
    fn expressions_of_a_workload_count() {
        let value = json!({"matchLabels": {"app": "x"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["web"]},
            {"key": "canary", "operator": "DoesNotExist"}]});
        let selector = selector(&serde_json::from_value(value).unwrap());
        assert_eq!(selector.to_string(), "app=x,tier!=web,!canary");
    }
}
