//! Owns a double of a proxy on the way to a server: HTTP `CONNECT`, the same in TLS, and
//! SOCKS5. It leads every name to one address, so what asks for a name that nothing
//! resolves went through it.

use localport_engine::registry::{Registry, Tasks};
use rcgen::{CertificateParams, KeyPair};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP `CONNECT`.
    Http,
    /// HTTP `CONNECT` inside TLS.
    Https,
    /// SOCKS5.
    Socks5,
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    kind: Kind,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

#[derive(Clone)]
struct Way {
    kind: Kind,
    login: Option<(String, String)>,
    to: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    tls: Option<TlsAcceptor>,
}

impl Proxy {
    /// A proxy that leads to `to`, for those who give `login`. In TLS it shows a
    /// certificate of its own making.
    ///
    /// # Errors
    /// When it cannot bind.
    pub async fn start(
        kind: Kind,
        login: Option<(&str, &str)>,
        to: SocketAddr,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tasks = Tasks::new("proxy", &Registry::default());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let tls = (kind == Kind::Https).then(acceptor).transpose().map_err(io::Error::other)?;
        let way = Way { kind, login, to, asked: asked.clone(), tls };
        let group = tasks.clone();
        tasks.spawn("accept", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let way = way.clone();
                group.spawn("connection", async move { way.serve(socket).await.map(drop) });
            }
        });
        Ok(Self { address, kind, asked, tasks })
    }

    /// Its address with `login` as it stands in a configuration.
    #[must_use]
    pub fn url(&self, login: &str) -> String {
        let scheme = match self.kind {
            Kind::Http => "http",
            Kind::Https => "https",
            Kind::Socks5 => "socks5",
        };
        let at = if login.is_empty() { "" } else { "@" };
        format!("{scheme}://{login}{at}{}", self.address)
    }

    /// Every place it was asked for and led to, as `host:port`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Way {
    async fn serve(self, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        match (&self.tls, self.kind) {
            (Some(tls), _) => self.http(tls.accept(socket).await?).await,
            (None, Kind::Socks5) => self.socks(socket).await,
            (None, _) => self.http(socket).await,
        }
    }

    async fn http(&self, mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if let Some((user, password)) = &self.login {
            let wanted = base64(format!("{user}:{password}").as_bytes());
            if !head.contains(&format!("Proxy-Authorization: Basic {wanted}\r\n")) {
                let refusal =
                    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                return client.write_all(refusal.as_bytes()).await;
            }
        }
        let place = head.split(' ').nth(1).unwrap_or_default().to_owned();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        self.lead(client, place).await
    }

    async fn socks(&self, mut client: TcpStream) -> io::Result<()> {
        let mut greeting = [0; 2];
        client.read_exact(&mut greeting).await?;
        let mut methods = vec![0; usize::from(greeting[1])];
        client.read_exact(&mut methods).await?;
        match &self.login {
            None => client.write_all(&[5, 0]).await?,
            Some(_) if !methods.contains(&2) => return client.write_all(&[5, 0xff]).await,
            Some((user, password)) => {
                client.write_all(&[5, 2]).await?;
                let _version = client.read_u8().await?;
                let given = (short(&mut client).await?, short(&mut client).await?);
                let right = given == (user.clone(), password.clone());
                client.write_all(&[1, u8::from(!right)]).await?;
                if !right {
                    return Ok(());
                }
            }
        }
        let mut head = [0; 4];
        client.read_exact(&mut head).await?;
        assert_eq!(head, [5, 1, 0, 3], "a name is asked for as one");
        let host = short(&mut client).await?;
        let port = client.read_u16().await?;
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        self.lead(client, format!("{host}:{port}")).await
    }

    async fn lead(
        &self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        place: String,
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(self.to).await?;
        server.set_nodelay(true)?;
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(place);
        copy_bidirectional(&mut client, &mut server).await.map(drop)
    }
}

async fn short(client: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], private)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// RFC 4648, apart from the one under test.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = char::from(LETTERS[(word >> (18 - 6 * at) & 63) as usize]);
            text.push(if at > chunk.len() { '=' } else { letter });
        }
    }
    text
}
