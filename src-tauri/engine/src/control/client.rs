//! Owns the other end of the control API: what the command line and a second start of
//! the desktop app ask a running host.

pub use super::answer::Failure;
pub use super::handlers::{Drained, Quitting};

use super::transport;
use crate::home::Home;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinSet;

/// Time for a running host to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A line of a stream is an event or a status of 1,000 forwards, about 1 MiB.
const LINE_LIMIT: usize = 16 * 1024 * 1024;

/// Why a request got no answer that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No host runs.
    #[error("LocalPort is not running")]
    NotRunning,
    /// The host said no.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The connection failed or ended early.
    #[error("no answer from LocalPort on `{path}`: {what}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        what: String,
    },
}

impl ClientError {
    /// What the person can do about it.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            ClientError::NotRunning => "start it with `localport run` or the desktop app",
            ClientError::Refused(failure) => &failure.hint,
            ClientError::Broken { .. } => "see what it said last with `localport logs`",
        }
    }
}

/// Asks the host of one home. Each request has its own connection.
#[derive(Clone, Debug)]
pub struct Client {
    home: Home,
}

impl Client {
    /// A client of the host in `home`, whether or not one runs.
    #[must_use]
    pub fn new(home: &Home) -> Self {
        Self { home: home.clone() }
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// When no host runs, or it gives no such answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, "application/json", Bytes::new())?;
        self.answer(request).await
    }

    /// Posts `body` to `path`.
    ///
    /// # Errors
    /// When no host runs, or it refuses.
    pub async fn post<T, B>(&self, path: &str, body: &B) -> Result<T, ClientError>
    where
        T: DeserializeOwned,
        B: Serialize,
    {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let request = self.request(Method::POST, path, "application/json", body.into())?;
        self.answer(request).await
    }

    /// Follows the event stream at `path`.
    ///
    /// # Errors
    /// When no host runs, or it gives no stream.
    pub async fn events(&self, path: &str) -> Result<Lines, ClientError> {
        self.stream(path, "text/event-stream").await
    }

    /// Follows how an end or a drain comes along.
    ///
    /// # Errors
    /// When no host runs, or it gives no stream.
    pub async fn progress(&self) -> Result<Lines, ClientError> {
        self.events("/v1/progress").await
    }

    /// Reads the lines at `path` as they come.
    ///
    /// # Errors
    /// When no host runs, or it gives no stream.
    pub async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        self.stream(path, "application/x-ndjson").await
    }

    async fn stream(&self, path: &str, accept: &str) -> Result<Lines, ClientError> {
        let request = self.request(Method::GET, path, accept, Bytes::new())?;
        let (response, driver) = self.send(request).await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        Ok(Lines {
            client: self.clone(),
            body: response.into_body(),
            buffer: Vec::new(),
            _driver: driver,
        })
    }

    /// Reads the text at `path`.
    ///
    /// # Errors
    /// When no host runs, or it gives no such text.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.body(self.request(Method::GET, path, "text/plain", Bytes::new())?).await?;
        String::from_utf8(body.to_vec()).map_err(|error| self.broken(error))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        let body = self.body(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.broken(error))
    }

    /// The whole answer to `request`.
    async fn body(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ClientError> {
        let (response, _driver) = self.send(request).await?;
        if !response.status().is_success() {
            return Err(self.failure(response).await);
        }
        let body = response.into_body().collect().await.map_err(|error| self.broken(error))?;
        Ok(body.to_bytes())
    }

    async fn failure(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return self.broken(error),
        };
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => ClientError::Refused(Failure { status: status.as_u16(), ..failure }),
            Err(_) => self.broken(format!("status {}", status.as_u16())),
        }
    }

    /// Sends `request` on a connection that lives as long as the returned set.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), ClientError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, transport::connect(&self.home));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_absent(&error) => return Err(ClientError::NotRunning),
            Ok(Err(error)) => return Err(self.broken(error)),
            Err(_) => return Err(self.broken("it takes no connection")),
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // The error is the request's too, and is told there.
            let _ = connection.await;
        });
        match sender.send_request(request).await {
            Ok(response) => Ok((response, driver)),
            Err(error) => Err(self.unanswered(error).await),
        }
    }

    /// A host that was killed lets its last client in and then closes; the next finds
    /// nobody.
    async fn unanswered(&self, error: hyper::Error) -> ClientError {
        match transport::connect(&self.home).await {
            Err(again) if is_absent(&again) => ClientError::NotRunning,
            _ => self.broken(error),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localport")
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))
    }

    fn broken(&self, what: impl ToString) -> ClientError {
        ClientError::Broken { path: self.home.control_socket(), what: what.to_string() }
    }
}

/// `text` as one segment of a path or one value of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// No socket, or one that nobody listens on, or one whose listener ended just now.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset)
}

/// A stream of lines. Dropping it ends the connection.
pub struct Lines {
    client: Client,
    body: Incoming,
    buffer: Vec<u8>,
    _driver: JoinSet<()>,
}

/// One message of an event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its name; empty for an ordinary one.
    pub name: String,
    /// Its content, JSON.
    pub data: String,
}

impl Lines {
    /// The next line; none when the host ended the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(self.client.broken("a line without end"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.client.broken(error)),
                None => return Ok(None),
            }
        }
    }

    /// The next message of an event stream; none when the host ended it.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn message(&mut self) -> Result<Option<Message>, ClientError> {
        let mut message = Message::default();
        while let Some(line) = self.next().await? {
            if line.is_empty() && !message.data.is_empty() {
                return Ok(Some(message));
            }
            if let Some(data) = line.strip_prefix("data: ") {
                data.clone_into(&mut message.data);
            } else if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut message.name);
            }
        }
        Ok(None)
    }
}

/// Status of a refusal that says the asked-for thing does not exist.
pub const NOT_FOUND: u16 = StatusCode::NOT_FOUND.as_u16();
