//! Owns one request in the form that handlers read: name, query, headers, body.

use super::answer::Failure;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap};
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use std::str::FromStr;
use std::time::Duration;

/// A selector of 1,000 forwards is about 30 KiB.
const BODY_LIMIT: usize = 256 * 1024;
/// Time for a request's body: a local client that takes longer is stuck.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// One request.
pub(super) struct Call {
    /// The `{name}` of the path, decoded.
    pub(super) name: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// Reads the whole request.
    pub(super) async fn read(request: Request<Incoming>, name: String) -> Result<Self, Failure> {
        let (head, body) = request.into_parts();
        let limited = Limited::new(body, BODY_LIMIT);
        let body = match tokio::time::timeout(BODY_TIMEOUT, limited.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(error)) => return Err(bad_body(&error.to_string())),
            Err(_) => return Err(too_slow()),
        };
        let query = head.uri.query().unwrap_or_default();
        Ok(Self { name, query: pairs(query), headers: head.headers, body })
    }

    /// The value of a query parameter; an empty one counts as absent.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(name, value)| name == key && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A query parameter as a number.
    pub(super) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                let message = format!("`{key}={text}` is no number in range");
                Failure::new(StatusCode::BAD_REQUEST, "bad-query", message, "give a whole number")
            })
        };
        self.text(key).map(parse).transpose()
    }

    /// Whether a query parameter is switched on: `follow`, `follow=1`, `follow=true`.
    pub(super) fn flag(&self, key: &str) -> bool {
        let value = self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        value.is_some_and(|value| matches!(value.as_str(), "" | "1" | "true"))
    }

    /// Whether the client asks for `media` by name.
    pub(super) fn accepts(&self, media: &str) -> bool {
        let accept = self.headers.get_all(ACCEPT);
        accept.iter().any(|value| value.to_str().is_ok_and(|value| value.contains(media)))
    }

    /// The event that the client saw last, when it comes back.
    pub(super) fn last_event_id(&self) -> Option<u64> {
        self.headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| bad_body(&error.to_string()))
    }

    /// The body as JSON, or `T`'s default when there is none.
    pub(super) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }
}

fn bad_body(what: &str) -> Failure {
    let message = format!("the body is not what this path takes: {what}");
    let hint = "see `/v1/openapi.json`; a selector is \"all\", {\"names\":[…]}, {\"tag\":…} or {\"context\":…}";
    Failure::new(StatusCode::BAD_REQUEST, "bad-body", message, hint)
}

fn too_large() -> Failure {
    let message = format!("the body is larger than `{BODY_LIMIT}` bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message, "select by tag instead")
}

fn too_slow() -> Failure {
    let message = format!("the body did not come within `{}` s", BODY_TIMEOUT.as_secs());
    Failure::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", message, "send it with the request")
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| decode(&text.replace('+', " "));
            (plain(key), plain(value))
        })
        .collect()
}

/// Undoes percent encoding; what is no encoding stays as it is.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_encoded() {
        assert_eq!(decode("a%20b%2Fc"), "a b/c");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%C3%BC"), "ü");
        assert_eq!(
            pairs("a=1&b=x+y&&c"),
            [("a".into(), "1".into()), ("b".into(), "x y".into()), ("c".into(), String::new())]
        );
    }
}
