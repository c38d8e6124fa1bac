//! Owns the one table of routes: what there is, what it takes, what it gives.

use super::Shared;
use super::answer::{Answer, Failure};
use super::call::{Call, decode};
use super::{clusters, diagnosis, handlers, openapi, streams};
use futures_util::future::BoxFuture;
use hyper::{Method, StatusCode};
use localport_core::metrics;
use std::sync::Arc;

pub(super) type Handler = fn(Arc<Shared>, Call) -> BoxFuture<'static, Answer>;

/// One thing that can be asked.
pub(super) struct Route {
    /// `GET` or `POST`.
    pub(super) method: &'static str,
    /// Path; `{name}` stands for one segment.
    pub(super) path: &'static str,
    /// One line for the document.
    pub(super) summary: &'static str,
    /// Query parameters: name, and what it does.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// Schema of the body it takes, if it takes one.
    pub(super) takes: Option<&'static str>,
    /// Schema of the JSON it gives; empty when it gives none.
    pub(super) gives: &'static str,
    /// Media type of the stream or text it can give instead of, or besides, JSON.
    pub(super) streams: Option<&'static str>,
    /// Answers it.
    pub(super) handler: Handler,
}

const SSE: Option<&str> = Some(streams::SSE);
const LINES: Option<&str> = Some(streams::NDJSON);
const FORWARD: (&str, &str) = ("forward", "Only what is about the forward of this name.");

macro_rules! handler {
    ($function:path) => {
        |shared, call| Box::pin($function(shared, call))
    };
}

/// A route without query, body and stream.
const fn get(
    path: &'static str,
    gives: &'static str,
    handler: Handler,
    summary: &'static str,
) -> Route {
    let method = "GET";
    Route { method, path, summary, query: &[], takes: None, gives, streams: None, handler }
}

const fn post(
    path: &'static str,
    takes: Option<&'static str>,
    gives: &'static str,
    handler: Handler,
    summary: &'static str,
) -> Route {
    let method = "POST";
    Route { method, path, summary, query: &[], takes, gives, streams: None, handler }
}

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    Route {
        streams: SSE,
        ..get(
            "/v1/status",
            "Status",
            handler!(handlers::status),
            "How everything stands, with ages instead of times; as an event stream, again and again.",
        )
    },
    Route {
        streams: SSE,
        ..get(
            "/v1/progress",
            "Progress",
            handler!(streams::progress),
            "How far an end and the drains of parts have come; as an event stream, whenever that changes.",
        )
    },
    get(
        "/v1/status/{name}",
        "ForwardStatus",
        handler!(handlers::status_of_one),
        "How one forward stands.",
    ),
    get(
        "/v1/snapshot",
        "Snapshot",
        handler!(handlers::snapshot),
        "How everything stands, with absolute times.",
    ),
    Route {
        streams: SSE,
        query: &[
            FORWARD,
            ("limit", "How many past events come first; none in a stream, all in JSON."),
        ],
        ..get(
            "/v1/events",
            "Events",
            handler!(streams::events),
            "What happens, as an event stream that honours Last-Event-ID; what happened, as JSON.",
        )
    },
    Route {
        streams: LINES,
        query: &[
            FORWARD,
            ("limit", "How many past lines come first; 100 when absent."),
            ("follow", "`true`: go on with the lines written from now on."),
        ],
        ..get(
            "/v1/logs",
            "LogLine",
            handler!(streams::logs),
            "Lines of the log, one JSON object each.",
        )
    },
    get(
        "/v1/resources",
        "Resources",
        handler!(handlers::resources),
        "Everything the engine holds: listeners, connections, sessions, children, tasks, files.",
    ),
    get(
        "/v1/resources/verify",
        "Inspected",
        handler!(handlers::inspect),
        "Compares what the engine holds with what the operating system shows, both ways.",
    ),
    Route {
        query: &[("limit", "How many, the last first; 50 when absent.")],
        ..get(
            "/v1/shutdowns",
            "History",
            handler!(handlers::shutdowns),
            "How LocalPort ended before, receipt by receipt, and sums over all.",
        )
    },
    Route {
        streams: Some(metrics::MEDIA),
        ..get(
            "/v1/metrics",
            "",
            handler!(handlers::metrics),
            "Figures in Prometheus' text format: forwards, clients, bytes, leases, shutdowns.",
        )
    },
    Route {
        query: &[("since_s", "How many seconds back; all that is kept when absent.")],
        ..get(
            "/v1/history/{name}",
            "Account",
            handler!(diagnosis::history),
            "How one forward stood: its outages with cause and length, the share of time in which it served, samples of round trip and traffic.",
        )
    },
    Route {
        query: &[("login", "`true`: a login plugin may open a browser.")],
        ..get(
            "/v1/explain/{name}",
            "Diagnosis",
            handler!(diagnosis::explain),
            "Walks the way of one forward, or to one context, step by step: the first step that fails, its remedy, and what shows the same in a terminal.",
        )
    },
    get(
        "/v1/clusters",
        "Clusters",
        handler!(clusters::list),
        "The clusters and SSH hosts in use: whether they answer, how long that takes, their nodes.",
    ),
    get(
        "/v1/clusters/{name}/events",
        "ClusterEvents",
        handler!(clusters::events),
        "What a cluster warned of in the last hour in the namespaces in use, near which forwards.",
    ),
    get(
        "/v1/config",
        "ConfigView",
        handler!(handlers::config),
        "The configuration's files and every complaint about them.",
    ),
    post(
        "/v1/reload",
        Some("ReloadAsk"),
        "Reload",
        handler!(handlers::reload),
        "Reads the configuration again and applies what changed; with `dry`, only says what would.",
    ),
    get("/v1/openapi.json", "OpenApi", handler!(openapi::document), "This description."),
    post("/v1/start", Some("Selector"), "Done", handler!(handlers::start), "Switches forwards on."),
    post("/v1/stop", Some("Selector"), "Done", handler!(handlers::stop), "Switches forwards off."),
    post(
        "/v1/restart",
        Some("Selector"),
        "Done",
        handler!(handlers::restart),
        "Opens new sessions; the local ports stay open.",
    ),
    post(
        "/v1/retry",
        Some("Selector"),
        "Done",
        handler!(handlers::retry),
        "Makes waiting attempts due now.",
    ),
    post(
        "/v1/drain",
        Some("Drain"),
        "Drained",
        handler!(handlers::drain),
        "Drains forwards: they take no new clients, open connections may finish; with `wait`, answers when it is over.",
    ),
    post(
        "/v1/resume",
        Some("Selector"),
        "Done",
        handler!(handlers::resume),
        "Switches on again what a drain took.",
    ),
    post(
        "/v1/trust-host-key/{name}",
        None,
        "Done",
        handler!(handlers::trust_host_key),
        "Accepts the unknown host key that the forward's problem names.",
    ),
    post(
        "/v1/login/{name}",
        None,
        "Done",
        handler!(clusters::login),
        "Logs in to a Kubernetes context and connects what waits for it; answers when that is over.",
    ),
    post(
        "/v1/quit",
        Some("Quit"),
        "Quitting",
        handler!(handlers::quit),
        "Ends LocalPort; with `wait`, answers when everything is released.",
    ),
    post(
        "/v1/quit/cancel",
        None,
        "Done",
        handler!(handlers::cancel_quit),
        "Calls the end off, as long as no connection was cut: everything listens again.",
    ),
    post(
        "/v1/quit/hurry",
        None,
        "Done",
        handler!(handlers::hurry_quit),
        "Passes to the end's next stage: waiting becomes cutting, cleaning up becomes force.",
    ),
    post(
        "/v1/window",
        None,
        "Empty",
        handler!(handlers::window),
        "Opens the desktop app's window.",
    ),
];

/// The route of a request, and the `{name}` in its path.
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Route, String), Failure> {
    let on_path: Vec<(&Route, String)> =
        ROUTES.iter().filter_map(|route| Some((route, matches(route.path, path)?))).collect();
    if on_path.is_empty() {
        let message = format!("there is no path `{path}`");
        let hint = "`/v1/openapi.json` describes every path";
        return Err(Failure::new(StatusCode::NOT_FOUND, "unknown-path", message, hint));
    }
    let allowed: Vec<&str> = on_path.iter().map(|(route, _)| route.method).collect();
    let allowed = allowed.join(", ");
    on_path.into_iter().find(|(route, _)| route.method == method.as_str()).ok_or_else(|| {
        let message = format!("`{path}` has no method `{method}`");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let hint = format!("use {allowed}");
        let mut failure = Failure::new(status, "unknown-method", message, &hint);
        failure.allow = Some(allowed);
        failure
    })
}

/// The decoded `{name}` when `path` fits `pattern`; empty when the pattern has none.
fn matches(pattern: &str, path: &str) -> Option<String> {
    let Some((prefix, suffix)) = pattern.split_once("{name}") else {
        return (pattern == path).then(String::new);
    };
    let name = path.strip_prefix(prefix)?.strip_suffix(suffix)?;
    (!name.is_empty() && !name.contains('/')).then(|| decode(name))
}
