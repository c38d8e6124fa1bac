//! Owns the road to an API server: directly, through a proxy, through an SSH host, or
//! through a proxy behind one.
//!
//! Every connection to the server takes it: requests, watches, and upgrades for tunnels.
//! TLS with the server is made at its end, so nobody on the way sees what is carried.

use super::{classify, proxy};
use crate::adapter::Upstream;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use kube::Config;
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use localport_core::config::SshHost;
use localport_core::kube::{Fault, Proxy, Scheme};
use localport_core::problem::{Code, Problem};
use rustls::pki_types::ServerName;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tower::{BoxError, Service, ServiceExt};

/// Silence after which the kernel asks the peer whether it is there, how often it
/// asks again, and how many times: a dead path ends within 9 s of silence. A limit on
/// unacknowledged bytes would notice more, but also end a pod that reads slowly.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMES: u32 = 2;

/// Opens connections behind SSH hosts.
pub trait Dial: Send + Sync + 'static {
    /// Resolves when there is a connection to `via`, which may take a login.
    fn ready<'a>(&'a self, via: &'a SshHost) -> BoxFuture<'a, Result<(), Problem>>;

    /// A connection from `via` to `host`:`port`; the name is resolved there. It stands on
    /// the connection to `via` and keeps it.
    fn dial<'a>(
        &'a self,
        via: &'a SshHost,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, Result<Box<dyn Upstream>, Problem>>;

    /// Resolves when what made `via` fail with `code` may have mended; never where nothing
    /// can tell.
    fn mended<'a>(&'a self, via: &'a SshHost, code: Code) -> BoxFuture<'a, ()>;

    /// Accepts the host key of `via` that could not be verified, and gives its fingerprint.
    fn trust<'a>(&'a self, via: &'a SshHost) -> BoxFuture<'a, Result<String, Problem>>;
}

/// The road to one API server.
#[derive(Clone)]
pub(super) struct Road {
    pub(super) proxy: Option<Proxy>,
    pub(super) via: Option<Via>,
}

/// An SSH host on the road.
#[derive(Clone)]
pub(super) struct Via {
    pub(super) host: SshHost,
    pub(super) dial: Arc<dyn Dial>,
}

/// A proxy that failed.
#[derive(Debug)]
pub(super) struct ProxyError {
    pub(super) proxy: String,
    pub(super) said: String,
}

/// An SSH host that failed.
#[derive(Debug)]
pub(super) struct ViaError {
    pub(super) via: String,
    pub(super) problem: Problem,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy `{}` {}", self.proxy, self.said)
    }
}

impl std::error::Error for ProxyError {}

impl fmt::Display for ViaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "through `{}`: {}", self.via, self.problem)
    }
}

impl std::error::Error for ViaError {}

impl Road {
    /// What distinguishes it from other roads to `server`.
    pub(super) fn words(&self, server: &str) -> String {
        let proxy = self.proxy.as_ref().map(|proxy| format!(" over {proxy}")).unwrap_or_default();
        let via = self.via.as_ref().map(|via| format!(" via {}", via.host.destination()));
        format!("{server}{proxy}{}", via.unwrap_or_default())
    }

    /// What makes its connections. `config` is that of the server at its end.
    pub(super) fn connector(&self, config: &Config) -> Result<Connector, kube::Error> {
        let tls = match &self.proxy {
            Some(proxy) if proxy.scheme == Scheme::Https => Some(proxy_tls(config)?),
            _ => None,
        };
        Ok(Connector { road: Arc::new(self.clone()), http: http(), tls })
    }
}

/// TLS with the proxy: it is trusted as the server is, and shown no credentials.
fn proxy_tls(config: &Config) -> Result<TlsConnector, kube::Error> {
    let mut config = config.clone();
    config.auth_info = AuthInfo::default();
    config.tls_server_name = None;
    Ok(TlsConnector::from(Arc::new(config.rustls_client_config()?)))
}

fn http() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_TIMES));
    connector
}

/// Makes connections over a road.
#[derive(Clone)]
pub(super) struct Connector {
    road: Arc<Road>,
    http: HttpConnector,
    tls: Option<TlsConnector>,
}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Io, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let stream = connector.open(&server).await?;
            Ok(Io(TokioIo::new(stream)))
        })
    }
}

impl Connector {
    /// A connection to `server`, before its TLS.
    pub(super) async fn open(&self, server: &Uri) -> Result<Box<dyn Upstream>, BoxError> {
        let default = if server.scheme_str() == Some("http") { 80 } else { 443 };
        let port = server.port_u16().unwrap_or(default);
        let host = server.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let Some(proxy) = &self.road.proxy else {
            return self.reach(host, port).await;
        };
        let failed = |said: String| BoxError::from(ProxyError { proxy: proxy.to_string(), said });
        let reached = self.reach(&proxy.host, proxy.port).await;
        let mut stream = reached.map_err(|error| match error.downcast::<ViaError>() {
            Ok(via) => via,
            Err(error) => failed(unreached(&*error)),
        })?;
        if let Some(tls) = &self.tls {
            let name = ServerName::try_from(proxy.host.clone())?;
            let secured = tls.connect(name, stream).await;
            stream = Box::new(secured.map_err(|error| failed(format!("fails in TLS: {error}")))?);
        }
        let login = proxy.login.as_ref();
        let opened = match proxy.scheme {
            Scheme::Http | Scheme::Https => proxy::connect(&mut stream, host, port, login).await,
            Scheme::Socks5 => proxy::socks(&mut stream, host, port, login).await,
        };
        opened.map_err(|refused| failed(refused.to_string()))?;
        Ok(stream)
    }

    /// A connection to the first stop of the road, or through the SSH host to it.
    async fn reach(&self, host: &str, port: u16) -> Result<Box<dyn Upstream>, BoxError> {
        if let Some(via) = &self.road.via {
            return via
                .dial
                .dial(&via.host, host, port)
                .await
                .map_err(|problem| ViaError { via: via.host.destination(), problem }.into());
        }
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let place: Uri = format!("http://{host}:{port}").parse()?;
        Ok(Box::new(self.http.clone().oneshot(place).await?.into_inner()))
    }
}

/// What a proxy does to which there is no connection.
fn unreached(error: &(dyn StdError + 'static)) -> String {
    match classify::transport(error) {
        Fault::Refused => "refuses connections".to_owned(),
        Fault::Dns => "cannot be found: its name does not resolve".to_owned(),
        Fault::Timeout => "does not answer".to_owned(),
        Fault::Unreachable { why } => format!("cannot be reached: {why}"),
        _ => format!("cannot be reached: {error}"),
    }
}

/// A connection to the server, before its TLS.
pub(super) struct Io(TokioIo<Box<dyn Upstream>>);

impl Connection for Io {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
