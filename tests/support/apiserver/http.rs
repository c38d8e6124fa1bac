//! Owns a double's HTTP side: which request means what, lists, watches and refusals.

use super::State;
use super::faults::Seen;
use super::forward;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use localport_engine::registry::Tasks;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Time between bookmarks; a real server lets a minute pass.
const BOOKMARK_EVERY: Duration = Duration::from_secs(1);

/// Requests at once on one connection of HTTP/2, as a real server allows.
const STREAMS: u32 = 100;

/// Serves one client until it leaves.
pub(crate) async fn serve(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    tasks: Tasks,
) {
    let limit = Duration::from_secs(10);
    match tls {
        None => serve_http(socket, state, tasks).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = timeout(limit, tls.accept(socket)).await {
                match socket.get_ref().1.alpn_protocol() {
                    Some(b"h2") => serve_http2(socket, state, tasks).await,
                    _ => serve_http(socket, state, tasks).await,
                }
            }
        }
    }
}

/// Any number of requests at once on one connection, and no upgrades, as Go's servers have it.
async fn serve_http2<S>(socket: S, state: Arc<State>, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = Multiplexed::begin(&state);
    let service = service_fn(move |request| {
        let (state, tasks) = (state.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(request, &state, &tasks).await) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(socket), service)
        .await;
    drop(served);
}

async fn serve_http<S>(socket: S, state: Arc<State>, tasks: Tasks)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (state, tasks) = (state.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(answer(request, &state, &tasks).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
    // A client that breaks off is the client's affair.
    drop(served);
}

/// A connection of HTTP/2, counted while it lives.
struct Multiplexed(Arc<State>);

impl Multiplexed {
    fn begin(state: &Arc<State>) -> Self {
        let mut faults = state.faults();
        faults.multiplexed += 1;
        faults.multiplexed_now += 1;
        Self(state.clone())
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        self.0.faults().multiplexed_now -= 1;
    }
}

/// A request, taken apart.
pub(crate) struct Asked {
    pub(crate) seen: Seen,
    pub(crate) query: HashMap<String, String>,
}

async fn answer(request: Request<Incoming>, state: &Arc<State>, tasks: &Tasks) -> Response<Body> {
    let asked = understand(&request);
    let (refusal, delay) = {
        let mut faults = state.faults();
        faults.seen.push(asked.seen.clone());
        (faults.refusal(&asked.seen), faults.delay)
    };
    if !delay.is_zero() {
        sleep(delay).await;
    }
    if let Some(code) = refusal {
        return refused(code, &asked.seen);
    }
    let Seen { verb, resource, namespace, name, .. } = &asked.seen;
    match (verb.as_str(), resource.as_str()) {
        ("get", "/version") => ok(&json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.2",
            "gitCommit": "", "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
            "platform": "" })),
        ("get", "/readyz") => text(StatusCode::OK, "ok"),
        // What kubectl looks up before it does anything.
        ("get", "/api") => ok(&json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ("get", "/apis") => {
            ok(&json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }))
        }
        ("get", "/api/v1") => {
            let resource = |name: &str, kind: &str| {
                json!({ "name": name, "singularName": kind.to_lowercase(), "namespaced": true,
                    "kind": kind, "verbs": ["get", "list", "watch", "create"] })
            };
            let resources = [resource("pods", "Pod"), resource("services", "Service")];
            ok(&json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1",
                "resources": resources }))
        }
        ("create", "selfsubjectaccessreviews") => review(request, state).await,
        ("get" | "create", "pods/portforward") => forward::answer(request, &asked, state, tasks),
        (_, "endpointslices") if !state.faults().slices => {
            text(StatusCode::NOT_FOUND, "404 page not found")
        }
        ("list", _) => ok(&list(&asked, state)),
        ("watch", _) => watch(&asked, state),
        ("get", _) => match state.store().get(resource, namespace, name) {
            Some(object) => ok(&object),
            None => refused(404, &asked.seen),
        },
        _ => refused(405, &asked.seen),
    }
}

fn understand(request: &Request<Incoming>) -> Asked {
    let path = request.uri().path();
    let query: HashMap<String, String> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("%2C", ",")))
        .collect();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", "v1", rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let (resource, namespace, name) = match rest {
        // What an API server asks of a kubelet.
        _ if matches!(parts.as_slice(), ["portForward", _, _]) => {
            ("pods/portforward".to_owned(), parts[1], parts[2])
        }
        ["namespaces", name] => ("namespaces".to_owned(), "", *name),
        ["namespaces", namespace, resource] => ((*resource).to_owned(), *namespace, ""),
        ["namespaces", namespace, resource, name] => ((*resource).to_owned(), *namespace, *name),
        ["namespaces", namespace, resource, name, sub] => {
            (format!("{resource}/{sub}"), *namespace, *name)
        }
        [resource] => ((*resource).to_owned(), "", ""),
        _ => (path.to_owned(), "", ""),
    };
    let watched = query.get("watch").is_some_and(|value| value == "true" || value == "1");
    let verb = match (request.method().as_str(), name, watched) {
        ("POST", ..) => "create",
        (_, _, true) => "watch",
        ("GET", "", false) if !resource.starts_with('/') => "list",
        ("GET", ..) => "get",
        (other, ..) => other,
    };
    let token = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::to_owned);
    let seen = Seen {
        verb: verb.to_owned(),
        resource,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        token,
    };
    Asked { seen, query }
}

fn list(asked: &Asked, state: &State) -> Value {
    let Seen { resource, namespace, .. } = &asked.seen;
    let store = state.store();
    let all = store.list(resource, namespace);
    let number = |key: &str| asked.query.get(key).and_then(|value| value.parse::<usize>().ok());
    let start = number("continue").unwrap_or(0).min(all.len());
    let end = number("limit").map_or(all.len(), |limit| (start + limit).min(all.len()));
    let mut meta = json!({ "resourceVersion": store.version().to_string() });
    if end < all.len() {
        meta["continue"] = json!(end.to_string());
    }
    json!({ "kind": "List", "apiVersion": "v1", "metadata": meta, "items": all[start..end] })
}

/// One open watch, counted while it lives.
struct Watch {
    state: Arc<State>,
    resource: String,
    namespace: String,
    version: u64,
    until: Instant,
    bookmark: Instant,
    changed: tokio::sync::watch::Receiver<u64>,
    waiting: Vec<Bytes>,
    over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut faults = self.state.faults();
        let entry = (self.resource.clone(), self.namespace.clone());
        if let Some(at) = faults.watching.iter().position(|watch| *watch == entry) {
            faults.watching.remove(at);
        }
    }
}

impl Watch {
    /// The next line; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.waiting.remove(0));
            }
            if self.over {
                return None;
            }
            let stalled = self.state.faults().stalled;
            if !stalled {
                self.read();
                if !self.waiting.is_empty() {
                    continue;
                }
            }
            // A silent watch does not even end: only its reader can notice.
            let until =
                if stalled { Instant::now() + Duration::from_secs(3_600) } else { self.until };
            tokio::select! {
                _ = self.changed.changed() => {}
                () = sleep_until(until) => self.over = true,
                () = sleep_until(self.bookmark), if !stalled => {
                    self.bookmark = Instant::now() + BOOKMARK_EVERY;
                    let meta = json!({ "resourceVersion": self.version.to_string() });
                    let mark = json!({ "type": "BOOKMARK", "object": { "kind": "Bookmark",
                        "apiVersion": "v1", "metadata": meta } });
                    self.waiting.push(line(&mark));
                }
            }
        }
    }

    fn read(&mut self) {
        let store = self.state.store();
        let Some(changes) = store.since(self.version) else {
            let gone = status(410, "Expired", "too old resource version", &json!({}));
            self.waiting.push(line(&json!({ "type": "ERROR", "object": gone })));
            self.over = true;
            return;
        };
        for change in changes {
            self.version = change.version;
            let (resource, namespace, _) = &change.key;
            if *resource == self.resource
                && (self.namespace.is_empty() || *namespace == self.namespace)
            {
                self.waiting.push(line(&json!({ "type": change.kind, "object": change.object })));
            }
        }
    }
}

fn watch(asked: &Asked, state: &Arc<State>) -> Response<Body> {
    let Seen { resource, namespace, .. } = &asked.seen;
    let number = |key: &str| asked.query.get(key).and_then(|value| value.parse::<u64>().ok());
    let seconds = number("timeoutSeconds").unwrap_or(1_800);
    state.faults().watching.push((resource.clone(), namespace.clone()));
    let watch = Watch {
        state: state.clone(),
        resource: resource.clone(),
        namespace: namespace.clone(),
        version: number("resourceVersion").unwrap_or_else(|| state.store().version()),
        until: Instant::now() + Duration::from_secs(seconds),
        bookmark: Instant::now() + BOOKMARK_EVERY,
        changed: state.changed.subscribe(),
        waiting: Vec::new(),
        over: false,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), watch))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(Box::pin(lines))));
    json_type(&mut response);
    response
}

async fn review(request: Request<Incoming>, state: &State) -> Response<Body> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return text(StatusCode::BAD_REQUEST, ""),
    };
    let mut review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = &review["spec"]["resourceAttributes"];
    let word = |key: &str| asked[key].as_str().unwrap_or_default().to_owned();
    let resource = match word("subresource") {
        sub if sub.is_empty() => word("resource"),
        sub => format!("{}/{sub}", word("resource")),
    };
    let allowed = state.faults().allows(&word("verb"), &resource);
    review["status"] = json!({ "allowed": allowed });
    ok(&review)
}

/// The Status body and code of a refusal.
pub(crate) fn refused(code: u16, seen: &Seen) -> Response<Body> {
    let Seen { verb, resource, namespace, name, .. } = seen;
    let details = json!({ "name": name, "kind": resource });
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized".to_owned()),
        403 => (
            "Forbidden",
            format!(
                "{resource} is forbidden: User \"double\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"{namespace}\""
            ),
        ),
        404 => ("NotFound", format!("{resource} \"{name}\" not found")),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later"
                .to_owned(),
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request".to_owned(),
        ),
        _ => ("BadRequest", format!("{verb} on {resource} is not served here")),
    };
    let body = status(code, reason, &message, &details);
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = code;
    json_type(&mut response);
    response
}

pub(crate) fn status(code: u16, reason: &str, message: &str, details: &Value) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code })
}

pub(crate) fn text(code: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = code;
    response
}

pub(crate) fn ok(body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    json_type(&mut response);
    response
}

pub(crate) fn full(body: String) -> Body {
    Full::new(Bytes::from(body)).boxed()
}

pub(crate) fn json_type(response: &mut Response<Body>) {
    let value = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, value);
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
