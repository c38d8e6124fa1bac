//! Owns how a double's endpoint slices look: what the controller of a real cluster writes
//! for a service and its pods.

use serde_json::{Value, json};

/// A pod's place in the slices of `service`: the slice's name, its ports, and the endpoint;
/// none where the pod is not behind the service or has no address yet.
pub(crate) fn entry(service: &Value, pod: &Value) -> Option<(String, Value, Value)> {
    let selector = service["spec"]["selector"].as_object().filter(|all| !all.is_empty())?;
    let labels = &pod["metadata"]["labels"];
    if !selector.iter().all(|(key, value)| labels[key] == *value) {
        return None;
    }
    if pod["spec"]["nodeName"].is_null() {
        return None;
    }
    let ports: Vec<Value> = service["spec"]["ports"]
        .as_array()?
        .iter()
        .filter_map(|port| {
            let number = number(&port["targetPort"], pod)?;
            Some(json!({ "name": port["name"], "port": number, "protocol": "TCP" }))
        })
        .collect();
    let numbers: Vec<String> = ports.iter().map(|port| port["port"].to_string()).collect();
    let serving = pod["status"]["conditions"][0]["status"] == "True";
    let terminating = !pod["metadata"]["deletionTimestamp"].is_null();
    let meta = &pod["metadata"];
    let endpoint = json!({
        "addresses": ["10.0.0.1"],
        "conditions": { "ready": serving && !terminating, "serving": serving,
            "terminating": terminating },
        "targetRef": { "kind": "Pod", "name": meta["name"], "namespace": meta["namespace"],
            "uid": meta["uid"] },
    });
    let name = service["metadata"]["name"].as_str()?;
    Some((format!("{name}-{}", numbers.join("-")), Value::Array(ports), endpoint))
}

/// A slice of `service` without endpoints.
pub(crate) fn empty(service: &Value, ports: Value) -> Value {
    let labels = json!({ "kubernetes.io/service-name": service["metadata"]["name"] });
    json!({ "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
        "metadata": { "labels": labels }, "ports": ports, "endpoints": [] })
}

fn number(target: &Value, pod: &Value) -> Option<u64> {
    match target.as_str() {
        None => target.as_u64(),
        Some(name) => pod["spec"]["containers"][0]["ports"]
            .as_array()?
            .iter()
            .find(|port| port["name"] == name)
            .and_then(|port| port["containerPort"].as_u64()),
    }
}
