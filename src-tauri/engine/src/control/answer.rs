//! Owns the form of answers: JSON, streams, and failures with a code and a hint.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use localport_core::command::Refusal;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

pub(super) type Body = BoxBody<Bytes, Infallible>;
pub(super) type Answer = Result<Response<Body>, Failure>;

/// What a request that could not be answered gets, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The HTTP status; not part of the JSON.
    #[serde(skip)]
    pub status: u16,
    /// Methods that the path has, when the one used is not among them.
    #[serde(skip)]
    pub(super) allow: Option<String>,
    /// Stable name.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: &str, message: String, hint: &str) -> Self {
        Self {
            status: status.as_u16(),
            allow: None,
            code: code.to_owned(),
            message,
            hint: hint.to_owned(),
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let mut response = json(&self);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if let Some(allow) = self.allow.as_deref().and_then(|methods| methods.parse().ok()) {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (status, code, hint) = match &refusal {
            Refusal::UnknownForward { .. } => {
                (StatusCode::NOT_FOUND, "unknown-forward", "`localport status` lists the forwards")
            }
            Refusal::UnknownTag { .. } => {
                (StatusCode::NOT_FOUND, "unknown-tag", "`localport status --json` shows every tag")
            }
            Refusal::UnknownContext { .. } => (
                StatusCode::NOT_FOUND,
                "unknown-context",
                "`localport status --json` shows every context",
            ),
            Refusal::Quitting => {
                (StatusCode::SERVICE_UNAVAILABLE, "quitting", "start it again with `localport run`")
            }
            Refusal::NotNow { .. } => {
                (StatusCode::CONFLICT, "not-now", "`localport status` shows how it stands")
            }
        };
        Failure::new(status, code, refusal.to_string(), hint)
    }
}

/// `value` as JSON, status 200.
pub(super) fn json<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => full("application/json", bytes.into()),
        Err(error) => Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("the answer cannot be written: {error}"),
            "please report it",
        )
        .plain(),
    }
}

/// `text` as it is, status 200.
pub(super) fn text(content_type: &'static str, text: String) -> Response<Body> {
    full(content_type, text.into())
}

/// Pieces as they come, until the stream ends.
pub(super) fn stream<S>(content_type: &'static str, pieces: S) -> Response<Body>
where
    S: Stream<Item = Bytes> + Send + Sync + 'static,
{
    let frames = pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    typed(content_type, BodyExt::boxed(StreamBody::new(frames)))
}

fn full(content_type: &'static str, bytes: Bytes) -> Response<Body> {
    typed(content_type, Full::new(bytes).boxed())
}

fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Failure {
    /// Without JSON, for the failure to write JSON.
    fn plain(self) -> Response<Body> {
        let mut response = full("text/plain", self.message.into());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}
