//! Owns one request of the demo, as any client would make it: plain TCP, plain HTTP.

use crate::exit::CommandError;
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than a client is held.
const PATIENCE: Duration = Duration::from_secs(40);

/// How one request went.
#[derive(Debug, Serialize)]
pub(crate) struct Visit {
    status: u16,
    bytes: usize,
    took_ms: f64,
}

impl Visit {
    /// The visit in a line.
    pub(crate) fn words(&self) -> String {
        format!("GET / → {}, {} bytes, {:.1} ms", self.status, self.bytes, self.took_ms)
    }
}

/// Asks for `/` at `address` on a connection of its own.
pub(crate) async fn visit(address: &str) -> Result<Visit, CommandError> {
    let begun = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, fetch(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer through the forward"))??;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
    let took_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    Ok(Visit { status, bytes: answer.len(), took_ms })
}

async fn fetch(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
