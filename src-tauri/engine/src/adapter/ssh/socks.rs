//! Owns the client side of SOCKS5 (RFC 1928) as `ssh -D` speaks it: no authentication,
//! CONNECT by name.
//!
//! OpenSSH sends its reply only once the far side confirmed the dial, and closes without
//! one when it was refused; so a reply is proof, and the words of a refusal are lost.

use super::carrier::{DialError, REASON_PROHIBITED, Refusal};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;
const SUCCEEDED: u8 = 0;
const NOT_ALLOWED: u8 = 2;

/// RFC 4254's reason for a dial that failed.
const CONNECT_FAILED: u32 = 2;

/// Connects to `host`:`port` through `proxy`.
pub(super) async fn dial(proxy: SocketAddr, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let request = request(host, port).map_err(DialError::Broken)?;
    let mut stream = TcpStream::connect(proxy).await.map_err(DialError::Broken)?;
    stream.set_nodelay(true).map_err(DialError::Broken)?;
    // Both messages at once: the answer to the first is known.
    stream.write_all(&request).await.map_err(DialError::Broken)?;
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await.map_err(DialError::Broken)?;
    if greeting != [VERSION, NO_AUTHENTICATION] {
        return Err(DialError::Broken(io::Error::other("no SOCKS5 server answers there")));
    }
    match reply(&mut stream).await {
        Ok(SUCCEEDED) => Ok(stream),
        Ok(code) => Err(refused(code)),
        Err(error) if is_end(&error) => Err(refused(u8::MAX)),
        Err(error) => Err(DialError::Broken(error)),
    }
}

/// Greeting and request.
fn request(host: &str, port: u16) -> io::Result<Vec<u8>> {
    let length = u8::try_from(host.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host name is too long"))?;
    let mut bytes = vec![VERSION, 1, NO_AUTHENTICATION, VERSION, CONNECT, 0, ADDRESS_NAME, length];
    bytes.extend_from_slice(host.as_bytes());
    bytes.extend_from_slice(&port.to_be_bytes());
    Ok(bytes)
}

async fn reply(stream: &mut TcpStream) -> io::Result<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [_, code, _, kind] = head;
    let address = match kind {
        ADDRESS_V4 => 4,
        ADDRESS_V6 => 16,
        ADDRESS_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(io::Error::other("the SOCKS5 server sent an unknown kind of address")),
    };
    let mut rest = vec![0; address + 2];
    stream.read_exact(&mut rest).await?;
    Ok(code)
}

fn refused(code: u8) -> DialError {
    let reason = if code == NOT_ALLOWED { REASON_PROHIBITED } else { CONNECT_FAILED };
    DialError::Refused(Refusal { reason, text: String::new() })
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn proxy_that_answers(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = crate::registry::Tasks::new("test", &Default::default());
        tasks.spawn("proxy", async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8 + 2 + 2];
            client.read_exact(&mut request).await.unwrap();
            assert_eq!(request, b"\x05\x01\x00\x05\x01\x00\x03\x02db\x15\x38");
            client.write_all(answer).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn the_stream_starts_right_behind_the_reply() {
        let proxy = proxy_that_answers(b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0hello").await;
        let mut stream = dial(proxy, "db", 5432).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
    }

    #[tokio::test]
    async fn an_end_before_the_reply_is_a_refusal() {
        let proxy = proxy_that_answers(b"\x05\x00").await;
        assert!(matches!(dial(proxy, "db", 5432).await, Err(DialError::Refused(_))));
    }

    #[tokio::test]
    async fn another_protocol_is_no_refusal() {
        let proxy = proxy_that_answers(b"HTTP/1.1 400").await;
        assert!(matches!(dial(proxy, "db", 5432).await, Err(DialError::Broken(_))));
    }
}
