//! Owns the HTTP side of a tunnel: the request that asks for it, and what came instead.

use super::classify;
use super::cluster::{Access, Cluster, REQUEST_LIMIT};
use super::path::Endpoint;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::Error;
use kube::client::Body;
use kube::core::Status;
use localport_core::kube::{Fault, Refusal, Way};
use localport_tunnel::Framing;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

/// KEP-4006.
const WEBSOCKET_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

const SPDY_UPGRADE: &str = "SPDY/3.1";
const SPDY_PROTOCOL: &str = "portforward.k8s.io";
const SPDY_PROTOCOL_HEADER: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Bytes read of a refusal's body; a Status is smaller.
const BODY_LIMIT: usize = 64 * 1024;

/// Why there is no tunnel.
pub(super) enum Denied {
    /// Nothing answered, or there are no credentials.
    Fault(Fault),
    /// The answer was another one.
    Answer {
        /// For the choice of the next way.
        refusal: Refusal,
        /// For the person, if there is none.
        error: Error,
    },
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Denied::Fault(fault)
    }
}

/// The framing of `way`.
pub(super) fn framing(way: Way) -> Framing {
    if way == Way::Spdy { Framing::Raw } else { Framing::WebSocket }
}

/// An upgraded connection to the pod of `endpoint`. Refused credentials are replaced
/// once.
pub(super) async fn upgrade(
    cluster: &Cluster,
    endpoint: &Endpoint,
    way: Way,
) -> Result<TokioIo<Upgraded>, Denied> {
    let access = cluster.access().await?;
    match ask(&access, endpoint, way).await {
        Err(Denied::Answer { error, .. }) if classify::is_unauthorized(&error) => {
            let access = cluster.renew(&access).await?;
            ask(&access, endpoint, way).await
        }
        outcome => outcome,
    }
}

async fn ask(access: &Access, endpoint: &Endpoint, way: Way) -> Result<TokioIo<Upgraded>, Denied> {
    let Endpoint { namespace, pod, .. } = endpoint;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/portforward");
    let key = generate_key();
    let request =
        request(way, &path, &key).map_err(|error| Fault::Other { said: error.to_string() })?;
    let asked = timeout(REQUEST_LIMIT, access.client.send(request));
    let response = match asked.await.map_err(|_| Fault::Timeout)? {
        Ok(response) => response,
        Err(error) => return Err(Denied::Fault(classify::transport(&error))),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(timeout(REQUEST_LIMIT, answer(response)).await.map_err(|_| Fault::Timeout)?);
    }
    if !agrees(way, response.headers(), &key) {
        return Err(denied(Refusal::Mismatch, "the upgrade led to another protocol", 101));
    }
    let upgraded = timeout(REQUEST_LIMIT, hyper::upgrade::on(response));
    match upgraded.await.map_err(|_| Fault::Timeout)? {
        Ok(upgraded) => Ok(TokioIo::new(upgraded)),
        Err(error) => Err(Denied::Fault(classify::transport(&error))),
    }
}

fn request(way: Way, path: &str, key: &str) -> http::Result<Request<Body>> {
    let request = match way {
        Way::Spdy => Request::post(path)
            .header(header::UPGRADE, SPDY_UPGRADE)
            .header(SPDY_PROTOCOL_HEADER, SPDY_PROTOCOL),
        Way::SpdyWs | Way::V4 => Request::get(path)
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_PROTOCOL),
    };
    request.header(header::CONNECTION, "Upgrade").body(Body::empty())
}

fn agrees(way: Way, headers: &HeaderMap, key: &str) -> bool {
    let is = |name: HeaderName, wanted: &str| {
        let said = headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        said.is_some_and(|said| said.eq_ignore_ascii_case(wanted))
    };
    match way {
        Way::Spdy => is(header::UPGRADE, SPDY_UPGRADE) && is(SPDY_PROTOCOL_HEADER, SPDY_PROTOCOL),
        Way::SpdyWs | Way::V4 => {
            let accept = derive_accept_key(key.as_bytes());
            is(header::UPGRADE, "websocket")
                && is(header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_PROTOCOL)
                && headers.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|said| *said == accept)
        }
    }
}

/// What an answer means that is no upgrade.
async fn answer(response: Response<Body>) -> Denied {
    let code = response.status().as_u16();
    let body = match Limited::new(response.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => bytes::Bytes::new(),
    };
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let by_kubernetes = value["kind"] == "Status";
    let said = match value["message"].as_str() {
        Some(message) if by_kubernetes => message.to_owned(),
        _ => String::from_utf8_lossy(&body).trim().chars().take(300).collect(),
    };
    if code == 200 || code == 101 {
        return denied(Refusal::Mismatch, &said, code);
    }
    denied(Refusal::Status { code, by_kubernetes }, &said, code)
}

pub(super) fn denied(refusal: Refusal, said: &str, code: u16) -> Denied {
    let status = Status::failure(said, "").with_code(code);
    Denied::Answer { refusal, error: Error::Api(status.boxed()) }
}
