//! Owns the `http` and `https` checks: one request, its status and its body.

use super::driven;
use super::secure::{Stream, secure};
use super::words::Blame;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use localport_core::config::HealthCheckKind;
use localport_core::problem::Problem;

/// Bytes of a body that are looked at.
const BODY: usize = 1024 * 1024;

/// A request as the check is written, and an answer as it asks for.
pub(super) async fn probe(
    stream: Stream,
    kind: &HealthCheckKind,
    host: &str,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let HealthCheckKind::Http { url, expected_status, expected_content, tls, .. } = kind else {
        return Ok(());
    };
    let uri: Uri = url.parse().map_err(|_| {
        blame.invalid("its `url` is no URL", "Write one such as `http://localhost/`")
    })?;
    let stream: Stream = if uri.scheme_str().is_some_and(|it| it.eq_ignore_ascii_case("https")) {
        Box::new(secure(stream, tls, host_of(&uri, host), &[b"http/1.1"], blame).await?)
    } else {
        stream
    };
    let request = request(kind, &uri, host, blame)?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error, blame))?;
    let asked = ask(&mut sender, request, expected_content.as_deref(), blame);
    let (status, found) = driven(asked, connection, |error| failed(&error, blame)).await?;
    if !expected_status.contains(&status) {
        let path = uri.path();
        let did = format!("answered `{status}` to `{path}`");
        return Err(blame.answer(did, "See the service's log, or mend `expected_status_codes`"));
    }
    if let (false, Some(text)) = (found, expected_content) {
        let did = format!("answered `{status}` without the text `{text}`");
        return Err(blame.answer(did, "See the service's log, or mend `expected_content`"));
    }
    Ok(())
}

/// The status, and whether the text that is looked for is in the body.
async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    text: Option<&str>,
    blame: Blame<'_>,
) -> Result<(u16, bool), Problem> {
    let response: Response<Incoming> =
        sender.send_request(request).await.map_err(|error| failed(&error, blame))?;
    let status = response.status().as_u16();
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok((status, true)) };
    let body = Limited::new(response.into_body(), BODY).collect().await;
    let body = match body {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let did = format!("broke off its answer, or gave more than `{BODY}` bytes: {error}");
            return Err(blame.answer(did, "Point `url` at a smaller page"));
        }
    };
    Ok((status, String::from_utf8_lossy(&body).contains(text)))
}

fn request(
    kind: &HealthCheckKind,
    uri: &Uri,
    host: &str,
    blame: Blame<'_>,
) -> Result<Request<Empty<Bytes>>, Problem> {
    let HealthCheckKind::Http { method, headers, .. } = kind else {
        return Err(blame.invalid("it is of another type", "Report this as a bug"));
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(method.as_str()).uri(path);
    let has = |name: &str| headers.keys().any(|header| header.eq_ignore_ascii_case(name));
    if !has("host") {
        builder = builder.header("host", host_of(uri, host));
    }
    if !has("user-agent") {
        builder = builder.header("user-agent", "localport");
    }
    for (name, value) in headers {
        builder = builder.header(name.as_str(), value.expose());
    }
    builder
        .body(Empty::new())
        .map_err(|_| blame.invalid("a header or the method cannot be sent", "Correct `headers`"))
}

/// The host that the URL names, where it means more than "this machine".
fn host_of<'a>(uri: &'a Uri, host: &'a str) -> &'a str {
    match uri.host() {
        None => host,
        Some(named) => {
            let bare = named.trim_start_matches('[').trim_end_matches(']');
            let local = bare.eq_ignore_ascii_case("localhost")
                || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
            if local { host } else { bare }
        }
    }
}

fn failed(error: &hyper::Error, blame: Blame<'_>) -> Problem {
    if error.is_parse() {
        return blame.stranger("HTTP");
    }
    let inner = std::error::Error::source(error).and_then(|it| it.downcast_ref::<std::io::Error>());
    match inner {
        Some(inner) => blame.broke(inner),
        None => blame.broke(&std::io::Error::other(error.to_string())),
    }
}
