//! The control socket as other programs use it: rights, statuses, streams, description.

use crate::{keys, set};
use localport_tests::host::{DEADLINE, Sandbox, unreachable};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

#[test]
fn the_socket_and_its_directories_are_private() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mode = |path: &str| {
        fs::metadata(sandbox.path().join("lp").join(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("run/control.sock"), 0o600);
    assert_eq!(mode("run"), 0o700);
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/logs"), 0o700);
    assert_eq!(mode("state/logs/localport.log"), 0o600);
    assert_eq!(mode("state/lock"), 0o600);
}

#[test]
fn wrong_requests_get_the_right_status_a_code_and_a_hint() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let large = format!("{{\"names\":[\"{}\"]}}", "x".repeat(300 * 1024));
    for (head, body, status, code) in [
        ("GET /v1/nothing", "", 404, "unknown-path"),
        ("GET /", "", 404, "unknown-path"),
        ("DELETE /v1/status", "", 405, "unknown-method"),
        ("GET /v1/stop", "", 405, "unknown-method"),
        ("GET /v1/status/nobody", "", 404, "unknown-forward"),
        ("GET /v1/events?limit=many", "", 400, "bad-query"),
        ("POST /v1/stop", "{", 400, "bad-body"),
        ("POST /v1/stop", "{\"name\":\"alpha\"}", 400, "bad-body"),
        ("POST /v1/stop", "{\"names\":[\"nobody\"]}", 404, "unknown-forward"),
        ("POST /v1/stop", "{\"tag\":\"nothing\"}", 404, "unknown-tag"),
        ("POST /v1/stop", &large, 413, "body-too-large"),
        ("POST /v1/quit", "{\"now\":true}", 400, "bad-body"),
        ("POST /v1/window", "", 409, "no-window"),
        ("POST /v1/trust-host-key/nobody", "", 404, "unknown-forward"),
    ] {
        let answer = sandbox.http(head, body);
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        let failure = answer.json();
        assert_eq!(failure["code"], code, "{head}");
        assert_eq!(keys(&failure), set(&["code", "message", "hint"]), "{head}");
        assert_ne!(failure["hint"], "", "{head}");
    }
    assert!(sandbox.http("DELETE /v1/status", "").head.contains("allow: get"));
    assert_eq!(sandbox.http("GET /v1/status/alpha", "").json()["name"], "alpha");
    assert_eq!(sandbox.http("POST /v1/stop", "\"all\"").json()["forwards"], json!(["alpha"]));
}

#[test]
fn what_is_no_http_and_who_is_too_slow_harms_nobody() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mut noise = UnixStream::connect(sandbox.socket()).unwrap();
    noise.write_all(b"\x00\xff not http\r\n\r\n").unwrap();
    let mut slow = UnixStream::connect(sandbox.socket()).unwrap();
    slow.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(sandbox.run(["status"]).code, Some(0));
    let begun = Instant::now();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut slow, &mut rest).unwrap();
    assert!(begun.elapsed() < DEADLINE, "a head that does not come ends the connection");
    assert_eq!(sandbox.run(["status"]).code, Some(0));
}

#[test]
fn sse_carries_numbers_and_goes_on_where_a_client_was() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let mut stream = sandbox.follow("/v1/events?limit=100", "");
    let first = stream.next().unwrap();
    assert_eq!(first.id, first.json()["seq"].as_u64());
    let listening = stream.find(|message| message.json()["kind"] == "listening").unwrap();
    let seen = listening.id.unwrap();
    drop(stream);
    assert_eq!(sandbox.http("POST /v1/stop", "\"all\"").status, 200);
    let stream = sandbox.follow("/v1/events", &format!("last-event-id: {seen}\r\n"));
    let mut numbers = Vec::new();
    for message in stream {
        numbers.push(message.id.unwrap());
        if message.json()["to"] == "stopped" {
            break;
        }
    }
    let expected: Vec<u64> = (seen + 1..=seen + numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "nothing missing, nothing twice");
}

/// A client that was away for longer than the history reaches is told how much it missed.
#[test]
fn a_client_that_lags_is_told_and_goes_on() {
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sandbox = Sandbox::with_config(&unreachable(&names));
    let _host = sandbox.host();
    let oldest = || {
        let events = sandbox
            .http("GET /v1/events?limit=5000 HTTP/1.1\r\naccept: application/json\r\nx:", "");
        events.json()["events"][0]["seq"].as_u64().unwrap()
    };
    while oldest() < 10 {
        for verb in ["stop", "start"] {
            let answer = sandbox.http(&format!("POST /v1/{verb}"), "\"all\"");
            // Faster than a forward can follow, a command is refused whole.
            assert!([200, 409].contains(&answer.status), "{}", answer.status);
        }
    }
    let mut stream = sandbox.follow("/v1/events", "last-event-id: 1\r\n");
    let lagged = stream.next().unwrap();
    assert_eq!(lagged.name, "lagged");
    let missed = lagged.json()["missed"].as_u64().unwrap();
    let next = stream.next().unwrap();
    assert_eq!((next.name.as_str(), next.id), ("", Some(1 + missed + 1)));
}

#[test]
fn more_followers_than_places_are_refused_and_quit_still_works() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let host = sandbox.host();
    let mut streams: Vec<_> = (0..64).map(|_| sandbox.follow("/v1/status", "")).collect();
    for stream in &mut streams {
        stream.next().unwrap();
    }
    let refused = sandbox.http("GET /v1/events", "");
    assert_eq!((refused.status, refused.json()["code"].clone()), (503, json!("too-many-streams")));
    assert_eq!(sandbox.run(["status"]).code, Some(0));
    assert_eq!(sandbox.run(["quit", "--wait"]).code, Some(0));
    assert_eq!(host.end().code, Some(0));
}

#[test]
fn the_description_names_every_route_that_answers() {
    let sandbox = Sandbox::with_config(&unreachable(&["alpha"]));
    let _host = sandbox.host();
    let document = sandbox.http("GET /v1/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let place = sandbox.run(["status", "--json"]).json()["contexts"][0]["name"].clone();
    let place = place.as_str().unwrap().to_owned();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if path == "/v1/quit" || method != "get" {
                continue;
            }
            let name = if path.starts_with("/v1/clusters/") { &place } else { "alpha" };
            let real = path.replace("{name}", name);
            let head = format!("GET {real} HTTP/1.1\r\naccept: application/json\r\nx:");
            let answer = sandbox.http(&head, "");
            assert_eq!(answer.status, 200, "{path}");
            let content = &operation["responses"]["2XX"]["content"];
            if content["application/json"].is_null() {
                let media = content.as_object().unwrap().keys().next().unwrap();
                let head = format!("content-type: {media}");
                assert!(answer.head.contains(&head), "{path}: {}", answer.head);
                continue;
            }
            let schema = &content["application/json"]["schema"];
            let body = answer.body.lines().next().unwrap_or_default();
            let value: Value = serde_json::from_str(body).unwrap();
            check(&document, schema, &value, path);
        }
    }
}

/// Holds `value` against `schema`: the keys, their presence, and their types.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return check(document, &document["components"]["schemas"][name], value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let null = choices.iter().any(|choice| choice["type"] == "null");
        if !(null && value.is_null()) {
            check(document, &choices[0], value, place);
        }
        return;
    }
    match schema["type"].as_str().unwrap_or_else(|| panic!("no type at {place}: {schema}")) {
        "object" => check_object(document, schema, value, place),
        "array" => {
            for item in value.as_array().unwrap_or_else(|| panic!("{place}: {value}")) {
                check(document, &schema["items"], item, &format!("{place}[]"));
            }
        }
        "string" => assert!(value.is_string(), "{place}: {value}"),
        "integer" => assert!(value.is_u64(), "{place}: {value}"),
        "number" => assert!(value.is_number(), "{place}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{place}: {value}"),
        other => panic!("unknown type {other} at {place}"),
    }
}

fn check_object(document: &Value, schema: &Value, value: &Value, place: &str) {
    let present = keys(value);
    for key in schema["required"].as_array().into_iter().flatten() {
        assert!(present.contains(key.as_str().unwrap()), "{place} lacks {key}: {value}");
    }
    for key in present {
        let property = &schema["properties"][&key];
        if property.is_null() {
            let open = schema["additionalProperties"] != false;
            assert!(open, "{place} has {key}, which the description does not know");
        } else {
            check(document, property, &value[&key], &format!("{place}.{key}"));
        }
    }
}

/// The written documents name every route and every command.
#[test]
fn the_documents_name_every_route_and_command() {
    let sandbox = Sandbox::new();
    let _host = sandbox.host();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs");
    let api = fs::read_to_string(docs.join("control-api.md")).unwrap();
    let document = sandbox.http("GET /v1/openapi.json", "").json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let route = format!("`{} {path}`", method.to_uppercase());
            assert!(api.contains(&route), "docs/control-api.md lacks {route}");
        }
    }
    let cli = fs::read_to_string(docs.join("cli.md")).unwrap();
    let help = sandbox.run(["--help"]).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(cli.contains(&format!("`{command}")), "docs/cli.md lacks {command}");
    }
}
