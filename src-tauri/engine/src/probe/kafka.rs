//! Owns the `kafka` check: a broker's answer to `ApiVersions`, which needs no login.

use super::secure::Stream;
use super::words::Blame;
use localport_core::problem::Problem;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API_VERSIONS: i16 = 18;
/// Tells our answer from another.
const CORRELATION: i32 = 0x10CA;
const CLIENT: &str = "localport";
/// Longest answer that is believed, in bytes.
const ANSWER: i32 = 1024 * 1024;

/// Asks which requests the broker knows.
pub(super) async fn probe(mut stream: Stream, blame: Blame<'_>) -> Result<(), Problem> {
    let answer = exchange(&mut stream).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => blame.stranger("the Kafka protocol"),
        _ => blame.broke(&error),
    })?;
    match answer {
        0 => Ok(()),
        code => {
            Err(blame
                .answer(format!("answered with the error code `{code}`"), "See the broker's log"))
        }
    }
}

/// The broker's error code.
async fn exchange(stream: &mut Stream) -> io::Result<i16> {
    stream.write_all(&request()).await?;
    stream.flush().await?;
    let size = stream.read_i32().await?;
    if !(6..=ANSWER).contains(&size) || stream.read_i32().await? != CORRELATION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.read_i16().await
}

/// `ApiVersions` in version 0: a header and no body.
fn request() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(API_VERSIONS.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(u16::try_from(CLIENT.len()).unwrap_or_default().to_be_bytes());
    body.extend(CLIENT.as_bytes());
    let mut request = u32::try_from(body.len()).unwrap_or_default().to_be_bytes().to_vec();
    request.extend(body);
    request
}
