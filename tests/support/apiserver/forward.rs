//! Owns a double's port-forward: `v4.channel.k8s.io` as containerd serves it.

use super::State;
use super::http::{Asked, Body, full, json_type, refused, status, text};
use super::store::Running;
use futures_util::{SinkExt, StreamExt};
use http::header;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use localport_engine::registry::Tasks;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, frame::coding::CloseCode};

/// Largest message towards the client, and the size of the runtime's buffer.
const CHUNK: usize = 32 * 1024;

/// What the runtime lets pass between the end of one direction and the end of all.
const GRACE: Duration = Duration::from_secs(1);

const PROTOCOL: &str = "v4.channel.k8s.io";

/// Upgrades a port-forward, or says why not.
pub(crate) fn answer(
    mut request: Request<Incoming>,
    asked: &Asked,
    state: &Arc<State>,
    tasks: &Tasks,
) -> Response<Body> {
    let mut seen = asked.seen.clone();
    // As from 1.35 on, a WebSocket takes the right to create as well.
    "create".clone_into(&mut seen.verb);
    if !state.faults().allows("create", "pods/portforward") {
        return refused(403, &seen);
    }
    let Some(pod) = state.store().get("pods", &seen.namespace, &seen.name) else {
        "pods".clone_into(&mut seen.resource);
        return refused(404, &seen);
    };
    if pod["spec"]["nodeName"].is_null() {
        return pending(&seen.name);
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let offered = header(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    if !offered.split(',').any(|protocol| protocol.trim() == PROTOCOL) {
        return text(StatusCode::FORBIDDEN, "");
    }
    let port = asked.query.get("ports").and_then(|ports| ports.parse::<u16>().ok());
    let key = header(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let (Some(port), Some(accept)) = (port, key) else {
        return text(StatusCode::BAD_REQUEST, "one port and a WebSocket key are needed");
    };
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let running = state.store().running(uid);
    let upgrade = hyper::upgrade::on(&mut request);
    tasks.spawn("port-forward", async move {
        if let Ok(upgraded) = upgrade.await {
            carry(upgraded, port, running).await;
        }
    });
    let mut response = Response::new(full(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ] {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn pending(pod: &str) -> Response<Body> {
    let message = format!("pod {pod} does not have a host assigned");
    let mut response =
        Response::new(full(status(400, "BadRequest", &message, &json!({})).to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    json_type(&mut response);
    response
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

async fn carry(upgraded: Upgraded, port: u16, running: Option<Running>) {
    let mut socket: Socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let [low, high] = port.to_le_bytes();
    for channel in [0, 1] {
        if socket.send(Message::binary(vec![channel, low, high])).await.is_err() {
            return;
        }
    }
    let outcome = match running {
        None => Err("network namespace for sandbox \"0\" is closed".to_owned()),
        Some(running) => match running.backends.get(&port) {
            None => Err(refusal(port)),
            Some(address) => match TcpStream::connect(address).await {
                Ok(backend) => {
                    drop(backend.set_nodelay(true));
                    Ok((backend, running.life))
                }
                Err(_) => Err(refusal(port)),
            },
        },
    };
    match outcome {
        Ok((backend, life)) => pump(&mut socket, backend, life).await,
        Err(text) => {
            let mut message = vec![1];
            message.extend_from_slice(text.as_bytes());
            if socket.send(Message::binary(message)).await.is_err() {
                return;
            }
        }
    }
    // The answer to a client's close goes out before this side's own.
    drop(socket.flush().await);
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if socket.close(Some(close)).await.is_ok() {
        // Until the client's close came back, or it left.
        let drained = async { while let Some(Ok(_)) = socket.next().await {} };
        drop(tokio::time::timeout(GRACE, drained).await);
    }
}

fn refusal(port: u16) -> String {
    format!(
        "failed to execute portforward in network namespace \"/var/run/netns/cni-0\": failed to connect to localhost:{port} inside namespace \"0\", IPv4: dial tcp4 127.0.0.1:{port}: connect: connection refused IPv6 dial tcp6: address localhost: no suitable address found"
    )
}

/// Copies both ways. The first direction that ends gives the other one second; the
/// client's end is never told to the backend.
async fn pump(socket: &mut Socket, backend: TcpStream, life: super::Life) {
    let (mut sink, mut stream) = socket.split();
    let (mut from_pod, mut to_pod) = backend.into_split();
    let down = async {
        let mut buffer = vec![0_u8; CHUNK];
        loop {
            match from_pod.read(&mut buffer[1..]).await {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    buffer[0] = 0;
                    if sink.send(Message::binary(buffer[..=count].to_vec())).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let up = async {
        while let Some(Ok(message)) = stream.next().await {
            let data = match message {
                Message::Binary(data) if data.first() == Some(&0) => data,
                Message::Close(_) => return,
                _ => continue,
            };
            if to_pod.write_all(&data[1..]).await.is_err() {
                return;
            }
        }
    };
    let (mut down, mut up) = (Box::pin(down), Box::pin(up));
    let rest: bool = tokio::select! {
        () = &mut down => true,
        () = &mut up => false,
        () = life.cancelled() => true,
    };
    // What is still on its way in the other direction gets the grace.
    if rest {
        tokio::select! { () = &mut up => {}, () = sleep(GRACE) => {} }
    } else {
        tokio::select! { () = &mut down => {}, () = sleep(GRACE) => {} }
    }
}
