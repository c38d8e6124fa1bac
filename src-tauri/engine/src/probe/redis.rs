//! Owns the `redis` check: `AUTH` where a password is given, then `PING`.

use super::secure::Stream;
use super::words::Blame;
use localport_core::config::Secret;
use localport_core::problem::Problem;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Longest line of an answer that is read, in bytes.
const LINE: u64 = 4096;

/// Logs in, asks, and expects `PONG`.
pub(super) async fn probe(
    stream: Stream,
    user: Option<&str>,
    password: Option<&Secret>,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let mut stream = BufReader::new(stream);
    if let Some(password) = password {
        let words: Vec<&str> =
            ["AUTH"].into_iter().chain(user).chain([password.expose()]).collect();
        match ask(&mut stream, &words, blame).await? {
            line if line.starts_with('+') => {}
            line if line.starts_with('-') => return Err(blame.login(said(&line))),
            _ => return Err(blame.stranger("the Redis protocol")),
        }
    }
    match ask(&mut stream, &["PING"], blame).await? {
        line if line == "+PONG" => Ok(()),
        line if line.starts_with("-NOAUTH") || line.starts_with("-WRONGPASS") => {
            Err(blame.login(said(&line)))
        }
        line if line.starts_with('-') => {
            let did = format!("answered `{}`", said(&line));
            Err(blame.answer(did, "See the server's log"))
        }
        _ => Err(blame.stranger("the Redis protocol")),
    }
}

/// Sends a command and gives the first line of the answer.
async fn ask(
    stream: &mut BufReader<Stream>,
    words: &[&str],
    blame: Blame<'_>,
) -> Result<String, Problem> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut line = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(stream, LINE);
        if limited.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    };
    let line = exchange.await.map_err(|error: io::Error| blame.broke(&error))?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// What an error line says.
fn said(line: &str) -> &str {
    line.trim_start_matches('-')
}
