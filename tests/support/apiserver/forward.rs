//! Owns a double's port-forward: the tunnel, over WebSocket and directly, and
//! `v4.channel.k8s.io`, all as containerd serves them.

use super::State;
use super::http::{Asked, Body, full, json_type, refused, status, text};
use super::store::Running;
use crate::node::{self, Dial, Node};
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

const V4: &str = "v4.channel.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const SPDY: &str = "SPDY/3.1";
const SPDY_PROTOCOL: &str = "portforward.k8s.io";

/// Upgrades a port-forward, or says why not.
pub(crate) fn answer(
    mut request: Request<Incoming>,
    asked: &Asked,
    state: &Arc<State>,
    tasks: &Tasks,
) -> Response<Body> {
    let mut seen = asked.seen.clone();
    // As from 1.35 on, a WebSocket takes the right to create as well; a POST is one.
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
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let offered = header("sec-websocket-protocol");
    let offers = |wanted: &str| offered.split(',').any(|protocol| protocol.trim() == wanted);
    let way = if header("upgrade") == SPDY && header("x-stream-protocol-version") == SPDY_PROTOCOL {
        "spdy"
    } else if offers(TUNNEL) {
        "spdy-ws"
    } else if offers(V4) {
        "v4"
    } else {
        return text(StatusCode::FORBIDDEN, "");
    };
    let planted = state.faults().ways.get(way).copied();
    if let Some((code, by_kubernetes)) = planted {
        if by_kubernetes {
            return refused(code, &seen);
        }
        let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return text(code, "upgrade request required");
    }
    let accept = derive_accept_key(header("sec-websocket-key").as_bytes());
    // A kubelet is asked for `port`.
    let ports = asked.query.get("ports").or_else(|| asked.query.get("port"));
    let port = ports.and_then(|ports| ports.parse::<u16>().ok());
    if way == "v4" && port.is_none() {
        return text(StatusCode::BAD_REQUEST, "one port is needed");
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let upgrade = hyper::upgrade::on(&mut request);
    let (node_state, group) = (state.clone(), tasks.clone());
    tasks.spawn("port-forward", async move {
        let Ok(upgraded) = upgrade.await else { return };
        let io = TokioIo::new(upgraded);
        let node = || Node::with(dial(node_state.clone(), uid.clone()), node_state.node.clone());
        // Ends with the group, as all that the node starts ends with its tunnel.
        let _group = group;
        match (way, port) {
            ("spdy", _) => node().serve_raw(io).await,
            ("spdy-ws", _) => node().serve_websocket(io).await,
            (_, Some(port)) => {
                let running = node_state.store().running(&uid);
                carry(io, port, running).await;
            }
            _ => {}
        }
    });
    let headers = match way {
        "spdy" => vec![("upgrade", SPDY), ("x-stream-protocol-version", SPDY_PROTOCOL)],
        _ => vec![
            ("upgrade", "websocket"),
            ("sec-websocket-protocol", if way == "v4" { V4 } else { TUNNEL }),
            ("sec-websocket-accept", accept.as_str()),
        ],
    };
    let mut response = Response::new(full(String::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    for (name, value) in headers {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// How the node reaches the ports of the pod with this UID.
fn dial(state: Arc<State>, uid: String) -> Dial {
    Arc::new(move |port| {
        let running = state.store().running(&uid);
        Box::pin(async move {
            let Some(running) = running else {
                let gone = "network namespace for sandbox \"0\" is closed";
                return Err(format!("error forwarding port {port} to pod 0, uid : {gone}"));
            };
            let address = running.backends.get(&port).ok_or_else(|| node::refusal(port))?;
            let socket = TcpStream::connect(address).await.map_err(|_| node::refusal(port))?;
            Ok((socket, running.life))
        })
    })
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

async fn carry(io: TokioIo<Upgraded>, port: u16, running: Option<Running>) {
    let mut socket: Socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
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
