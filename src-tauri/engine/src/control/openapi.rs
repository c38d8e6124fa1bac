//! Owns the description of the control API: OpenAPI 3.1, made from the table of routes
//! and the schemas here.

use super::Shared;
use super::answer::{self, Answer};
use super::call::Call;
use super::routes::{ROUTES, Route};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /v1/openapi.json`.
pub(super) async fn document(_shared: Arc<Shared>, _call: Call) -> Answer {
    Ok(answer::json(&describe()))
}

/// The whole document.
pub(super) fn describe() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "LocalPort control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "HTTP/1.1 over a local socket that only the user's own processes may use.",
        },
        "servers": [{ "url": "http://localport" }],
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

fn operation(route: &Route) -> Value {
    let mut content = json!({});
    if !route.gives.is_empty() {
        content["application/json"] = json!({ "schema": reference(route.gives) });
    }
    if let Some(media) = route.streams {
        content[media] = json!({ "schema": { "type": "string" } });
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "responses": {
            "2XX": { "description": "Done.", "content": content },
            "default": {
                "description": "Not done.",
                "content": { "application/json": { "schema": reference("Failure") } },
            },
        },
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(schema) = route.takes {
        operation["requestBody"] =
            json!({ "content": { "application/json": { "schema": reference(schema) } } });
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.trim_start_matches("/v1/").replace("/{name}", "-of-one");
    format!("{}-{}", route.method.to_lowercase(), words.replace(".json", ""))
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let mut parameters: Vec<Value> = route
        .query
        .iter()
        .map(|(name, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": text })
        })
        .collect();
    if route.path.contains("{name}") {
        let about = "Name of the forward.";
        parameters.push(json!({
            "name": "name", "in": "path", "required": true, "description": about, "schema": text,
        }));
    }
    parameters
}

/// Every schema. An object's keys are always there unless it says otherwise; a value
/// that may be missing is null.
fn schemas() -> Value {
    let mut schemas = Map::new();
    for part in [answers(), status(), snapshot(), facts(), places()] {
        if let Value::Object(part) = part {
            schemas.extend(part);
        }
    }
    Value::Object(schemas)
}

fn answers() -> Value {
    json!({
        "Selector": { "oneOf": [
            { "const": "all" },
            object(&[("names", list(text()))]),
            object(&[("tag", text())]),
            object(&[("context", text())]),
        ] },
        "Done": object(&[("forwards", list(text())), ("message", maybe(text()))]),
        "Quit": { "type": "object", "properties": { "wait": flag() } },
        "Drain": {
            "type": "object",
            "required": ["selector"],
            "properties": {
                "selector": reference("Selector"), "within_ms": maybe(count()), "wait": flag(),
            },
        },
        "Drained": object(&[
            ("forwards", list(text())), ("message", maybe(text())),
            ("drained", maybe(reference("PartReceipt"))),
        ]),
        "PartReceipt": object(&[
            ("forwards", list(text())), ("took_ms", count()),
            ("forced", list(reference("Held"))), ("left", list(reference("Held"))),
            ("resumed", list(text())),
        ]),
        "Quitting": object(&[("stopped", maybe(reference("Receipt")))]),
        "Receipt": object(&receipt()),
        "Shutdown": object(&[&[("id", count()), ("forwards", count())], &receipt()[..]].concat()),
        "History": object(&[
            ("shutdowns", list(reference("Shutdown"))), ("totals", reference("Totals")),
        ]),
        "Totals": object(&[
            ("shutdowns", count()), ("clean", count()), ("forced", count()), ("left", count()),
            ("unexplained", count()),
        ]),
        "Released": object(&[("kind", text()), ("count", count()), ("took_ms", count())]),
        "Held": object(&[("kind", text()), ("name", text()), ("owner", text())]),
        "Slow": object(&[
            ("kind", text()), ("name", text()), ("owner", text()), ("took_ms", count()),
        ]),
        "Check": object(&[
            ("what", text()), ("start", count()), ("end", count()),
            ("unexplained", list(text())),
        ]),
        "Passed": object(&[
            ("stage", text()), ("took_ms", count()),
            ("because", json!({ "description": "`done`, `hurried`, `expired`, or `{\"failed\": why}`" })),
        ]),
        "Empty": object(&[]),
        "OpenApi": { "type": "object" },
        "Failure": object(&[("code", text()), ("message", text()), ("hint", text())]),
        "Resources": object(&[("resources", list(reference("Lease")))]),
        "Inspected": object(&[
            ("checks", list(reference("Check"))), ("unseen", maybe(text())),
        ]),
        "Lease": object(&[
            ("id", count()), ("kind", text()), ("name", text()), ("owner", text()),
            ("age_ms", count()), ("stands_on", list(count())),
        ]),
        "Events": object(&[("events", list(reference("Event")))]),
        "Event": open_object(&[
            ("seq", count()), ("at", count()), ("forward", maybe(text())), ("kind", text()),
        ]),
        "LogLine": open_object(&[
            ("timestamp", text()), ("level", text()), ("message", text()), ("target", text()),
        ]),
    })
}

fn receipt() -> Vec<(&'static str, Value)> {
    vec![
        ("version", text()),
        ("pid", count()),
        ("reasons", list(text())),
        ("began", count()),
        ("took_ms", count()),
        ("stages", list(reference("Passed"))),
        ("released", list(reference("Released"))),
        ("forced", list(reference("Held"))),
        ("left", list(reference("Held"))),
        ("slowest", list(reference("Slow"))),
        ("faults", list(text())),
        ("checks", list(reference("Check"))),
        ("remarks", list(text())),
    ]
}

fn status() -> Value {
    json!({
        "Status": object(&[
            ("phase", text()), ("uptime_s", count()), ("pid", count()), ("version", text()),
            ("summary", text()), ("pending", maybe(reference("Pending"))),
            ("forwards", list(reference("ForwardStatus"))),
            ("contexts", list(reference("Context"))),
        ]),
        "ForwardStatus": object(&[
            ("name", text()), ("technology", text()), ("context", text()),
            ("tags", list(text())), ("state", text()), ("word", text()), ("local", text()),
            ("target", text()), ("listener", reference("ListenerFact")),
            ("tunnel", reference("TunnelStatus")),
            ("target_health", reference("TargetStatus")),
            ("connections", reference("Connections")), ("bytes", reference("Bytes")),
            ("problem", maybe(reference("Problem"))), ("because", maybe(reference("Cause"))),
            ("drain", maybe(reference("DrainStatus"))), ("since_s", count()),
        ]),
        "DrainStatus": object(&[
            ("stage", maybe(text())), ("since_s", count()), ("left_ms", maybe(count())),
            ("forced", count()),
        ]),
        "TunnelStatus": object(&[
            ("state", text()), ("path", maybe(text())), ("endpoint", maybe(text())),
            ("rtt_ms", maybe(number())), ("retry_in_s", maybe(count())),
        ]),
        "TargetStatus": object(&[
            ("state", text()), ("checked_s_ago", maybe(count())), ("check", text()),
            ("proof", maybe(text())), ("took_ms", maybe(number())), ("failures", count()),
            ("next_in_s", maybe(count())), ("cached", flag()),
        ]),
    })
}

fn snapshot() -> Value {
    json!({
        "Snapshot": object(&[
            ("seq", count()), ("at", count()), ("version", text()), ("pid", count()),
            ("phase", text()), ("started", count()), ("ending", maybe(reference("Ending"))),
            ("forwards", list(reference("Forward"))),
            ("contexts", list(reference("Context"))), ("config", reference("ConfigView")),
        ]),
        "Ending": object(&[
            ("stage", text()), ("since", count()), ("until", count()), ("open", count()),
            ("can_cancel", flag()), ("left", list(reference("Left"))),
            ("first", list(reference("Held"))), ("more", count()), ("forced", count()),
        ]),
        "Left": object(&[("kind", text()), ("count", count())]),
        "Progress": object(&[
            ("phase", text()), ("sentence", maybe(text())),
            ("ending", maybe(reference("EndingProgress"))),
            ("drains", list(reference("DrainProgress"))),
        ]),
        "EndingProgress": object(&[
            ("stage", text()), ("left_ms", count()), ("can_cancel", flag()), ("open", count()),
            ("left", list(reference("Left"))), ("first", list(reference("Held"))),
            ("more", count()), ("forced", count()),
        ]),
        "DrainProgress": object(&[
            ("forward", text()), ("stage", text()), ("left_ms", count()), ("open", count()),
        ]),
        "Forward": object(&[
            ("name", text()), ("technology", text()), ("context", text()),
            ("tags", list(text())), ("description", maybe(text())), ("wanted", flag()),
            ("drain", maybe(reference("ForwardDrain"))),
            ("state", text()), ("since", count()), ("local", text()), ("target", text()),
            ("listener", reference("ListenerFact")), ("tunnel", reference("TunnelFact")),
            ("target_health", reference("TargetFact")),
            ("connections", reference("Connections")), ("bytes", reference("Bytes")),
            ("problem", maybe(reference("Problem"))), ("because", maybe(reference("Cause"))),
        ]),
        "ForwardDrain": object(&[
            ("since", count()), ("stage", maybe(text())), ("until", maybe(count())),
            ("forced", count()),
        ]),
        "TunnelFact": object(&[
            ("state", text()), ("path", maybe(text())), ("endpoint", maybe(text())),
            ("rtt_ms", maybe(number())), ("measured", maybe(count())),
            ("retry_at", maybe(count())),
        ]),
        "TargetFact": object(&[
            ("state", text()), ("checked", maybe(count())), ("fresh_until", maybe(count())),
            ("check", text()), ("proof", maybe(text())), ("took_ms", maybe(number())),
            ("failures", count()), ("next", maybe(count())), ("cached", flag()),
        ]),
        "ConfigView": object(&[
            ("files", list(text())), ("searched", list(text())),
            ("diagnostics", list(reference("Diagnostic"))), ("applied", count()),
            ("pending", maybe(reference("Pending"))),
        ]),
        "Diagnosis": object(&[
            ("name", text()), ("technology", text()), ("context", text()),
            ("target", maybe(text())), ("well", flag()), ("steps", list(reference("Walked"))),
            ("finding", maybe(reference("Finding"))),
        ]),
        "Account": object(&[
            ("name", text()), ("since", count()), ("now", count()),
            ("standing", maybe(text())), ("up_ms", count()), ("down_ms", count()),
            ("uptime", maybe(number())), ("outages", list(reference("Outage"))),
            ("fine", list(reference("Sample"))), ("coarse", list(reference("Sample"))),
        ]),
        "Outage": object(&[
            ("began", count()), ("ended", maybe(count())), ("end", maybe(text())),
            ("length_ms", count()), ("cause", maybe(reference("Problem"))),
        ]),
        "Sample": object(&[
            ("at", count()), ("measured", count()), ("rtt_ms", maybe(number())),
            ("rtt_max_ms", maybe(number())), ("up", count()), ("down", count()),
        ]),
        "Walked": object(&[
            ("step", text()), ("outcome", text()), ("took_ms", maybe(number())), ("said", text()),
        ]),
        "Finding": object(&[
            ("step", text()), ("problem", reference("Problem")), ("command", maybe(text())),
        ]),
        "ReloadAsk": { "type": "object", "properties": { "dry": flag(), "rollback": flag() } },
        "Reload": object(&[
            ("in_force", flag()), ("sentence", text()), ("pending", maybe(reference("Pending"))),
            ("lines", list(text())), ("plan", json!({ "type": "object" })),
            ("diagnostics", list(reference("Diagnostic"))),
        ]),
        "Pending": object(&[("why", text()), ("sentence", text()), ("hint", text())]),
        "Diagnostic": object(&[
            ("severity", text()), ("code", text()), ("file", text()), ("line", count()),
            ("column", count()), ("message", text()), ("hint", text()),
        ]),
    })
}

fn facts() -> Value {
    json!({
        "ListenerFact": object(&[("state", text()), ("addresses", list(text()))]),
        "Connections": object(&[("open", count()), ("held", count()), ("total", count())]),
        "Bytes": object(&[("up", count()), ("down", count())]),
        "Problem": object(&[("code", text()), ("sentence", text()), ("hint", text())]),
    })
}

fn places() -> Value {
    json!({
        "Context": object(&[
            ("name", text()), ("technology", text()), ("forwards", count()), ("up", count()),
            ("reach", text()), ("since", count()), ("latency_ms", maybe(number())),
            ("checked", maybe(count())), ("cached", flag()),
            ("nodes", maybe(reference("Nodes"))), ("warnings", count()),
            ("login", maybe(reference("LoginNeeded"))), ("unseen", list(text())),
            ("expires", maybe(count())), ("problem", maybe(reference("Problem"))),
            ("roots", list(reference("Root"))),
        ]),
        "Nodes": object(&[("ready", count()), ("total", count()), ("not_ready", list(text()))]),
        "LoginNeeded": object(&[("what", text()), ("command", maybe(text())), ("running", flag())]),
        "Cause": object(&[("kind", text()), ("name", text()), ("since", count())]),
        "Root": object(&[
            ("kind", text()), ("name", text()), ("place", text()), ("technology", text()),
            ("since", count()), ("problem", maybe(reference("Problem"))),
            ("forwards", list(text())),
        ]),
        "Clusters": object(&[("clusters", list(reference("ClusterStatus")))]),
        "ClusterStatus": object(&[
            ("name", text()), ("technology", text()), ("reach", text()), ("since_s", count()),
            ("latency_ms", maybe(number())), ("checked_s_ago", maybe(count())),
            ("cached", flag()), ("forwards", count()), ("up", count()),
            ("waiting", list(text())), ("nodes", maybe(reference("Nodes"))),
            ("warnings", count()), ("login", maybe(reference("LoginNeeded"))),
            ("unseen", list(text())), ("expires_in_s", maybe(count())),
            ("problem", maybe(reference("Problem"))),
        ]),
        "ClusterEvents": object(&[
            ("cluster", text()), ("events", list(reference("ClusterEvent"))),
            ("unseen", list(text())),
        ]),
        "ClusterEvent": object(&[
            ("at", count()), ("count", count()), ("reason", text()), ("message", text()),
            ("namespace", text()), ("object", text()), ("forwards", list(text())),
        ]),
    })
}

fn object(keys: &[(&str, Value)]) -> Value {
    let mut object = open_object(keys);
    object["additionalProperties"] = false.into();
    object
}

/// An object that may have more keys than these.
fn open_object(keys: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    let properties: Map<String, Value> =
        keys.iter().map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn maybe(schema: Value) -> Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}
