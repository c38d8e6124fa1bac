//! Owns the words that open a way through a proxy: HTTP `CONNECT` and SOCKS5.
//!
//! Receives a connection to the proxy, emits the same connection, from then on to the
//! server behind it.

use crate::explain::base64;
use localport_core::config::Secret;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of an answer to `CONNECT`; proxies say more only in bodies, which are not read.
const ANSWER_LIMIT: usize = 16 * 1024;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_FITS: u8 = 0xff;
const CONNECT: u8 = 1;
const BY_NAME: u8 = 3;

/// Why a proxy opened no way: the rest of a sentence about it.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self("closed the connection without an answer".into()),
            _ => Self(format!("broke the connection: {error}")),
        }
    }
}

/// Asks an HTTP proxy for `host`:`port`.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<&(String, Secret)>,
) -> Result<(), Refused> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some((user, password)) = login {
        let pair = base64(format!("{user}:{}", password.expose()).as_bytes());
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let answer = answer(stream).await?;
    match status(&answer) {
        Some(200..300) => Ok(()),
        Some(407) if login.is_some() => Err(Refused("does not accept the login (407)".into())),
        Some(407) => Err(Refused("asks for a login (407)".into())),
        Some(_) => {
            let line = answer.lines().next().unwrap_or_default();
            let said: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
            Err(Refused(format!("refuses `{host}:{port}`: {said}")))
        }
        None => Err(Refused("does not speak HTTP".into())),
    }
}

/// The head of the answer. Read byte by byte, because what follows it is the server's.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String, Refused> {
    let mut head = Vec::with_capacity(128);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == ANSWER_LIMIT {
            return Err(Refused("does not speak HTTP".into()));
        }
        head.push(stream.read_u8().await?);
        if head.len() == 5 && head != b"HTTP/" {
            return Err(Refused("does not speak HTTP".into()));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.get(..3)?.parse().ok()
}

/// Asks a SOCKS5 proxy for `host`:`port`; it resolves the name.
pub(super) async fn socks<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<&(String, Secret)>,
) -> Result<(), Refused> {
    let method = if login.is_some() { PASSWORD } else { NO_LOGIN };
    stream.write_all(&[VERSION, 1, method]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, login) {
        ([VERSION, PASSWORD], Some(login)) => log_in(stream, login).await?,
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, NOTHING_FITS], None) => return Err(Refused("asks for a login".into())),
        ([VERSION, _], _) => return Err(Refused("asks for another kind of login".into())),
        _ => return Err(Refused("does not speak SOCKS5".into())),
    }
    let mut request = vec![VERSION, CONNECT, 0, BY_NAME, short(host)?];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        BY_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(Refused("does not speak SOCKS5".into())),
    };
    stream.read_exact(&mut vec![0; rest + 2]).await?;
    // RFC 1928 section 6.
    let why = match head[1] {
        0 => return Ok(()),
        2 => "its rules forbid it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "it took too long",
        _ => "it failed",
    };
    Err(Refused(format!("does not reach `{host}:{port}`: {why}")))
}

/// RFC 1929.
async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    (user, password): &(String, Secret),
) -> Result<(), Refused> {
    let password = password.expose();
    let mut request = vec![1, short(user)?];
    request.extend_from_slice(user.as_bytes());
    request.push(short(password)?);
    request.extend_from_slice(password.as_bytes());
    stream.write_all(&request).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer[1] == 0 { Ok(()) } else { Err(Refused("does not accept the login".into())) }
}

fn short(text: &str) -> Result<u8, Refused> {
    u8::try_from(text.len()).map_err(|_| Refused("takes no name longer than 255 bytes".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Tasks;
    use tokio::io::duplex;

    /// What a proxy is told, and what becomes of it when it answers so.
    async fn told(
        answers: &'static [&'static [u8]],
        socks5: bool,
        login: Option<(String, Secret)>,
    ) -> (Result<(), String>, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(64 * 1024);
        let tasks = Tasks::new("test", &Default::default());
        let (said, heard) = tokio::sync::oneshot::channel();
        tasks.spawn("proxy", async move {
            let mut all = Vec::new();
            for answer in answers {
                let mut part = vec![0; 4096];
                let count = theirs.read(&mut part).await.unwrap();
                all.extend_from_slice(&part[..count]);
                theirs.write_all(answer).await.unwrap();
            }
            said.send(all).unwrap();
        });
        let outcome = match socks5 {
            true => socks(&mut ours, "api", 6443, login.as_ref()).await,
            false => connect(&mut ours, "api", 6443, login.as_ref()).await,
        };
        (outcome.map_err(|refused| refused.to_string()), heard.await.unwrap())
    }

    /// Its answers, our login, the words.
    type Row = (&'static [&'static [u8]], Option<(String, Secret)>, &'static str);

    fn login() -> Option<(String, Secret)> {
        Some(("me".to_owned(), Secret::new("pass".to_owned())))
    }

    #[tokio::test]
    async fn what_an_http_proxy_is_told_and_what_it_means() {
        let ok: &[&[u8]] = &[b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"];
        let (outcome, said) = told(ok, false, login()).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "CONNECT api:6443 HTTP/1.1\r\nHost: api:6443\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n\r\n"
        );
        let table: [Row; 5] = [
            (&[b"HTTP/1.1 407 Auth\r\n\r\n"], None, "asks for a login (407)"),
            (&[b"HTTP/1.1 407 Auth\r\n\r\n"], login(), "does not accept the login (407)"),
            (
                &[b"HTTP/1.1 403 Forbidden\r\n\r\n"],
                None,
                "refuses `api:6443`: HTTP/1.1 403 Forbidden",
            ),
            (&[b"SSH-2.0-OpenSSH_9.2\r\n"], None, "does not speak HTTP"),
            (&[b""], None, "closed the connection without an answer"),
        ];
        for (answers, login, words) in table {
            assert_eq!(told(answers, false, login).await.0.unwrap_err(), words);
        }
    }

    #[tokio::test]
    async fn what_a_socks_proxy_is_told_and_what_it_means() {
        let ok: &[&[u8]] = &[b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0"];
        let (outcome, said) = told(ok, true, login()).await;
        assert_eq!(outcome, Ok(()));
        assert_eq!(said, b"\x05\x01\x02\x01\x02me\x04pass\x05\x01\x00\x03\x03api\x19\x2b");
        let table: [Row; 5] = [
            (&[b"\x05\xff"], None, "asks for a login"),
            (&[b"\x05\x02", b"\x01\x01"], login(), "does not accept the login"),
            (
                &[b"\x05\x00", b"\x05\x05\x00\x01\0\0\0\0\0\0"],
                None,
                "does not reach `api:6443`: the connection was refused",
            ),
            (
                &[b"\x05\x00", b"\x05\x04\x00\x03\x01x\0\0"],
                None,
                "does not reach `api:6443`: the host is unreachable",
            ),
            (&[b"HT"], None, "does not speak SOCKS5"),
        ];
        for (answers, login, words) in table {
            assert_eq!(told(answers, true, login).await.0.unwrap_err(), words);
        }
    }
}
