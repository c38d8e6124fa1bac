//! Owns a double's objects, their versions, and the history that watches read.

use super::{Life, slices};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Key of an object: resource, namespace, name.
type Key = (String, String, String);

/// What happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) object: Value,
}

/// What runs behind a pod.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) backends: HashMap<u16, SocketAddr>,
    pub(crate) life: Life,
}

#[derive(Default)]
pub(crate) struct Store {
    version: u64,
    /// Watches from a version before this one get `410 Gone`.
    oldest: u64,
    uids: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<Change>,
    running: HashMap<String, Running>,
}

impl Store {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012}", self.uids)
    }

    pub(crate) fn has(&self, resource: &str, namespace: &str, name: &str) -> bool {
        self.objects.contains_key(&key(resource, namespace, name))
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.objects.get(&key(resource, namespace, name)).cloned()
    }

    pub(crate) fn list(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let here = |key: &Key| key.0 == resource && (namespace.is_empty() || key.1 == namespace);
        self.objects.iter().filter(|(key, _)| here(key)).map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn run(&mut self, uid: &str, backends: HashMap<u16, SocketAddr>) {
        self.running.insert(uid.to_owned(), Running { backends, life: Life::new() });
    }

    pub(crate) fn running(&self, uid: &str) -> Option<Running> {
        self.running.get(uid).cloned()
    }

    pub(crate) fn put(&mut self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        let key = key(resource, namespace, name);
        let old = self.objects.get(&key).map(|old| old["metadata"].clone());
        let fresh = self.next_uid();
        let uid = object["metadata"]["uid"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| old.as_ref().and_then(|meta| meta["uid"].as_str()).map(str::to_owned));
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(uid.unwrap_or(fresh));
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(moment(self.version));
        }
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.record(kind, key, object);
    }

    pub(crate) fn edit(
        &mut self,
        resource: &str,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) {
        let key = key(resource, namespace, name);
        if let Some(mut object) = self.objects.get(&key).cloned() {
            edit(&mut object);
            self.record("MODIFIED", key, object);
        }
    }

    pub(crate) fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        let key = key(resource, namespace, name);
        if let Some(object) = self.objects.get(&key).cloned() {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if let Some(running) = self.running.remove(uid) {
                running.life.cancel();
            }
            self.record("DELETED", key, object);
        }
    }

    /// The changes after `version`; none when they are forgotten.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Change>> {
        if version < self.oldest {
            return None;
        }
        Some(self.history.iter().filter(|change| change.version > version).cloned().collect())
    }

    pub(crate) fn forget(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.history.clear();
    }

    /// Brings the endpoint slices of `namespace` up to date, as the service's controller
    /// does: one slice for each service and set of port numbers.
    pub(crate) fn slice(&mut self, namespace: &str) {
        let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
        for service in self.list("services", namespace) {
            for pod in self.list("pods", namespace) {
                if let Some((name, ports, endpoint)) = slices::entry(&service, &pod) {
                    let slice =
                        wanted.entry(name).or_insert_with(|| slices::empty(&service, ports));
                    if let Some(endpoints) = slice["endpoints"].as_array_mut() {
                        endpoints.push(endpoint);
                    }
                }
            }
        }
        for old in self.list("endpointslices", namespace) {
            let name = old["metadata"]["name"].as_str().unwrap_or_default();
            if !wanted.contains_key(name) {
                self.remove("endpointslices", namespace, name);
            }
        }
        for (name, slice) in wanted {
            let old = self.get("endpointslices", namespace, &name);
            if old.is_none_or(|old| old["endpoints"] != slice["endpoints"]) {
                self.put("endpointslices", namespace, &name, slice);
            }
        }
    }

    fn record(&mut self, kind: &'static str, key: Key, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if kind == "DELETED" {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key.clone(), object.clone());
        }
        self.history.push(Change { version: self.version, kind, key, object });
    }
}

/// A pod's object, without its name.
pub(crate) fn pod(
    labels: &[(String, String)],
    ports: &[(String, u16)],
    ready: bool,
    waiting: Option<&str>,
    uid: &str,
) -> Value {
    let labels: HashMap<&str, &str> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(|(name, number)| json!({ "name": name, "containerPort": number, "protocol": "TCP" }))
        .collect();
    let pending = waiting == Some("Pending");
    let mut spec = json!({ "containers": [{ "name": "main", "image": "main", "ports": ports }] });
    let mut status = json!({ "phase": if pending { "Pending" } else { "Running" } });
    if !pending {
        spec["nodeName"] = json!("node-1");
    }
    let state = match waiting {
        Some(reason) => json!({ "waiting": { "reason": reason } }),
        None => json!({ "running": {} }),
    };
    status["containerStatuses"] = json!([{ "name": "main", "image": "main", "imageID": "main",
        "ready": ready, "restartCount": 0, "state": state }]);
    let mut object = json!({ "kind": "Pod", "apiVersion": "v1",
        "metadata": { "labels": labels, "uid": uid }, "spec": spec, "status": status });
    set_ready(&mut object, ready);
    object
}

pub(crate) fn set_ready(pod: &mut Value, ready: bool) {
    let word = if ready { "True" } else { "False" };
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": word }]);
    pod["status"]["containerStatuses"][0]["ready"] = json!(ready);
    if ready {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"]["phase"] = json!("Running");
        pod["status"]["containerStatuses"][0]["state"] = json!({ "running": {} });
    }
}

pub(crate) fn service_port((name, number, target): (&str, u16, &str)) -> Value {
    let target = target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number));
    json!({ "name": name, "port": number, "targetPort": target, "protocol": "TCP" })
}

/// A time that rises with `count`, one second each.
fn moment(count: u64) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}Z", count / 3_600 % 24, count / 60 % 60, count % 60)
}

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}
