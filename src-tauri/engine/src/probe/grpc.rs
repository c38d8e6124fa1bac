//! Owns the `grpc` check: the standard health service, `grpc.health.v1.Health/Check`.

use super::driven;
use super::secure::{Stream, secure};
use super::words::Blame;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use localport_core::config::TlsCheck;
use localport_core::problem::Problem;

/// Bytes of an answer that are read.
const ANSWER: usize = 64 * 1024;

/// Asks whether `service` serves.
pub(super) async fn probe(
    stream: Stream,
    service: &str,
    tls: Option<&TlsCheck>,
    host: &str,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let stream: Stream = match tls {
        Some(tls) => Box::new(secure(stream, tls, host, &[b"h2"], blame).await?),
        None => stream,
    };
    let name = tls.and_then(|tls| tls.server_name.as_deref()).unwrap_or(host);
    let request = Request::post(format!("{scheme}://{name}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "localport")
        .body(())
        .map_err(|_| blame.invalid("the host cannot be asked for", "Correct `server_name`"))?;
    let (sender, connection) =
        h2::client::handshake(stream).await.map_err(|error| failed(&error, blame))?;
    let asked = async {
        ask(sender, request, message(service)).await.map_err(|error| failed(&error, blame))
    };
    let answer = driven(asked, connection, |error| failed(&error, blame)).await?;
    judge(&answer, service, blame)
}

/// What came back.
struct Answer {
    http: u16,
    status: Option<String>,
    body: Vec<u8>,
}

async fn ask(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<Answer, h2::Error> {
    let mut sender = sender.ready().await?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(message, true)?;
    let response = response.await?;
    let http = response.status().as_u16();
    let mut status = status(response.headers());
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        if body.len() + piece.len() <= ANSWER {
            body.extend_from_slice(&piece);
        }
    }
    if let Some(trailers) = stream.trailers().await? {
        status = self::status(&trailers).or(status);
    }
    Ok(Answer { http, status, body })
}

fn status(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("grpc-status")?.to_str().ok()?.to_owned())
}

fn judge(answer: &Answer, service: &str, blame: Blame<'_>) -> Result<(), Problem> {
    let hint = "See the service's log";
    match answer.status.as_deref() {
        Some("0") => {}
        Some("5") => {
            let did = format!("knows no service `{service}` to tell the health of");
            return Err(blame.answer(did, "Correct `service` of the health check"));
        }
        Some("12") => {
            let did = "has no gRPC health service";
            return Err(blame.answer(did, "Add one, or use a check of type `tcp`"));
        }
        Some(code) => {
            return Err(blame.answer(format!("answered with the gRPC status `{code}`"), hint));
        }
        None if answer.http != 200 => {
            return Err(blame.answer(format!("answered `{}`, not as gRPC", answer.http), hint));
        }
        None => return Err(blame.stranger("gRPC")),
    }
    match serving(&answer.body) {
        Some(1) => Ok(()),
        Some(2) => Err(blame.answer("says that it is not serving", hint)),
        Some(3) => Err(blame.answer(format!("knows no service `{service}`"), hint)),
        Some(_) => Err(blame.answer("does not know whether it serves", hint)),
        None => Err(blame.stranger("gRPC")),
    }
}

/// `HealthCheckRequest { service = 1 }` with gRPC's five bytes in front.
fn message(service: &str) -> Bytes {
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(0x0A);
        varint(&mut body, service.len());
        body.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::with_capacity(5 + body.len());
    message.put_u8(0);
    message.put_u32(u32::try_from(body.len()).unwrap_or_default());
    message.put_slice(&body);
    message.freeze()
}

fn varint(to: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        to.put_u8(u8::try_from(number & 0x7F).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    to.put_u8(u8::try_from(number).unwrap_or_default());
}

/// `status` of a `HealthCheckResponse { status = 1 }`; absent means 0.
fn serving(body: &[u8]) -> Option<u8> {
    let (head, message) = body.split_at_checked(5)?;
    let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    match message.get(..usize::try_from(size).ok()?)? {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

fn failed(error: &h2::Error, blame: Blame<'_>) -> Problem {
    match error.get_io() {
        Some(io) => blame.broke(io),
        None => blame.stranger("gRPC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_writes_them() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        let long = "x".repeat(300);
        assert_eq!(&message(&long)[..8], [0, 0, 0, 1, 0x2F, 0x0A, 0xAC, 0x02]);
        for (body, expected) in [
            (&[0, 0, 0, 0, 2, 0x08, 1][..], Some(1)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 9, 0x08], None),
            (&[0, 0, 0], None),
            (b"HTTP/1.1 400", None),
        ] {
            assert_eq!(serving(body), expected, "{body:?}");
        }
    }
}
