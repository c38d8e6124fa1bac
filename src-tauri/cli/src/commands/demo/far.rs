//! Owns the demo's far side: an SSH server that can be taken away, and a web service.

use super::ground::Ground;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use localport_engine::registry::Tasks;
use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelOpenFailure};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// What fits between the socket and the SSH protocol.
const PIPE: usize = 256 * 1024;

const PAGE: &str = "<!doctype html>\n<title>LocalPort</title>\n<h1>It works</h1>\n\
    <p>This page came through an SSH tunnel that LocalPort keeps up.</p>\n";

/// A web service on a free port.
pub(crate) struct WebService {
    port: u16,
}

impl WebService {
    pub(crate) async fn start(tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let own = tasks.clone();
        tasks.spawn("web service", async move {
            let visits = Arc::new(AtomicU64::new(0));
            while let Ok((client, _)) = listener.accept().await {
                own.spawn("web client", serve_page(client, visits.clone()));
            }
        });
        Ok(Self { port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

async fn serve_page(client: TcpStream, visits: Arc<AtomicU64>) {
    at_once(&client);
    let service = service_fn(move |_: Request<Incoming>| {
        let number = visits.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let page = format!("{PAGE}<p>Visit {number}</p>\n");
            let mut response = Response::new(Full::new(Bytes::from(page)));
            let html = hyper::header::HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, html);
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away early is its own affair.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(client), service).await;
}

/// An SSH server that lets one key in and forwards to this machine. It serves until the
/// demo's tasks end, or until it is told to go away.
pub(crate) struct SshServer {
    address: SocketAddr,
    config: Arc<Config>,
    user_key: PublicKey,
    parent: Tasks,
    /// The listener and the connections; none of them while the server is away.
    life: Tasks,
}

impl SshServer {
    pub(crate) async fn start(ground: &Ground, tasks: &Tasks) -> io::Result<Self> {
        let config = Config {
            keys: vec![ground.host_key()],
            // The first question of every client, answered at once.
            auth_rejection_time_initial: Some(Duration::ZERO),
            nodelay: true,
            ..Config::default()
        };
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            config: Arc::new(config),
            user_key: ground.user_key(),
            parent: tasks.clone(),
            life: tasks.child("demo"),
        };
        server.come_back().await?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes the port and cuts every connection, as a host that loses its power.
    pub(crate) async fn go_away(&mut self) {
        self.life.cancel();
        self.life.wait().await;
    }

    /// Listens again where it listened before.
    pub(crate) async fn come_back(&mut self) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        self.address = listener.local_addr()?;
        self.life = self.parent.child("demo");
        let (config, user_key) = (self.config.clone(), self.user_key.clone());
        let connections = self.life.clone();
        self.life.spawn("SSH server", async move {
            while let Ok((client, _)) = listener.accept().await {
                let handler = Visitor { user_key: user_key.clone(), tasks: connections.clone() };
                connections.spawn("SSH client", serve_ssh(client, config.clone(), handler));
            }
        });
        Ok(())
    }
}

/// Carries one connection; its bytes pass through here, so that ending this task cuts it.
async fn serve_ssh(mut client: TcpStream, config: Arc<Config>, handler: Visitor) {
    at_once(&client);
    let (mut outer, inner) = tokio::io::duplex(PIPE);
    let protocol = async {
        match russh::server::run_stream(config, inner, handler).await {
            Ok(session) => {
                // How a session ends is told by its client.
                let _ = session.await;
            }
            Err(error) => tracing::debug!("demo's SSH server: {error}"),
        }
    };
    let bytes = copy_bidirectional(&mut client, &mut outer);
    tokio::join!(async { drop(bytes.await) }, protocol);
}

/// Small pieces are sent when they are written, not when the last one is confirmed.
fn at_once(stream: &TcpStream) {
    // Only slower when it fails.
    let _ = stream.set_nodelay(true);
}

/// One SSH client.
struct Visitor {
    user_key: PublicKey,
    tasks: Tasks,
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = key.public_key.key_data() == self.user_key.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let target = (host.to_owned(), u16::try_from(port).unwrap_or(0));
        self.tasks.spawn("SSH channel", async move {
            let Ok(mut service) = TcpStream::connect(target).await else {
                return reply.reject(ChannelOpenFailure::ConnectFailed).await;
            };
            at_once(&service);
            reply.accept().await;
            // The end of either side is the end of the channel, whatever its reason.
            let _ = copy_bidirectional(&mut channel.into_stream(), &mut service).await;
        });
        Ok(())
    }
}
