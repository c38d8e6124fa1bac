//! Owns the `postgres` check: a real login and a query.

use super::driven;
use super::secure::{Stream, config, problem};
use super::words::Blame;
use futures_util::future::BoxFuture;
use localport_core::config::{HealthCheckKind, TlsCheck};
use localport_core::problem::{Code, Problem};
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

/// Logs in as the check says and asks the server for `1`.
pub(super) async fn probe(
    stream: Stream,
    kind: &HealthCheckKind,
    host: &str,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let HealthCheckKind::Postgres { database, user, password, sslmode, tls } = kind else {
        return Ok(());
    };
    let sslmode = sslmode.as_deref().unwrap_or("prefer");
    let mut settings = tokio_postgres::Config::new();
    settings.dbname(database).user(user).application_name("localport").ssl_mode(match sslmode {
        "disable" => SslMode::Disable,
        "require" | "verify-ca" | "verify-full" => SslMode::Require,
        _ => SslMode::Prefer,
    });
    if let Some(password) = password {
        settings.password(password.expose());
    }
    let verify = matches!(sslmode, "verify-ca" | "verify-full");
    let tls = TlsCheck { verify, ..tls.clone() };
    let name = tls.server_name.clone().unwrap_or_else(|| host.to_owned());
    let secured = Secured { config: Arc::new(config(&tls, &[], blame)?), name: name.clone() };
    let (client, connection) = settings
        .connect_raw(Plain(stream), secured)
        .await
        .map_err(|error| failed(&error, &name, blame))?;
    let asked = async {
        let asked = client.simple_query("SELECT 1").await;
        asked.map(drop).map_err(|error| failed(&error, &name, blame))
    };
    driven(asked, connection, |error| failed(&error, &name, blame)).await
}

fn failed(error: &tokio_postgres::Error, name: &str, blame: Blame<'_>) -> Problem {
    if let Some(said) = error.as_db_error() {
        let code = said.code();
        let starting = [
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        if starting.contains(code) {
            let did = format!("takes no login now: {}", said.message());
            return blame.answer(did, "See the server's log");
        }
        return blame.login(said.message());
    }
    let source = std::error::Error::source(error);
    if let Some(io) = source.and_then(|it| it.downcast_ref::<io::Error>()) {
        // An answer that is no message of the protocol.
        if io.kind() == io::ErrorKind::InvalidInput || io.kind() == io::ErrorKind::InvalidData {
            let tls = problem(io, name, blame);
            let is_tls = matches!(tls.code, Code::TargetTls | Code::TargetCertificate);
            return if is_tls { tls } else { blame.stranger("the PostgreSQL protocol") };
        }
        return problem(io, name, blame);
    }
    let said = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if said.contains("password") {
        return blame.login("it asks for a password, and the check has none");
    }
    if said.contains("TLS") {
        return blame.tls(source.map_or(said.clone(), ToString::to_string));
    }
    blame.answer(format!("broke off the login: {said}"), "See the server's log")
}

/// TLS for the client: over its own stream, with our verifier.
struct Secured {
    config: Arc<rustls::ClientConfig>,
    name: String,
}

impl TlsConnect<Plain> for Secured {
    type Stream = Bound;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Bound>>;

    fn connect(self, stream: Plain) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.name).map_err(io::Error::other)?;
            Ok(Bound(TlsConnector::from(self.config).connect(name, stream).await?))
        })
    }
}

/// A session's stream.
struct Plain(Stream);

/// The same within TLS. It offers no channel binding: a password is covered by TLS itself.
struct Bound(tokio_rustls::client::TlsStream<Plain>);

impl TlsStream for Bound {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

macro_rules! stream {
    ($name:ident) => {
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_read(cx, buf)
            }
        }

        impl AsyncWrite for $name {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write(cx, buf)
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_shutdown(cx)
            }
        }
    };
}

stream!(Plain);
stream!(Bound);
