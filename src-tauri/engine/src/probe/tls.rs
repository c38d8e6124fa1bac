//! Owns the `tls` check: a handshake, and days that the certificate is still valid.

use super::secure::{Stream, secure};
use super::words::Blame;
use localport_core::config::TlsCheck;
use localport_core::problem::Problem;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::parse_x509_certificate;

const DAY: i64 = 24 * 60 * 60;

/// A handshake with a certificate that is valid for `days` more.
pub(super) async fn probe(
    stream: Stream,
    tls: &TlsCheck,
    days: u32,
    host: &str,
    blame: Blame<'_>,
) -> Result<(), Problem> {
    let stream = secure(stream, tls, host, &[], blame).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some(first) = certificates.first() else {
        return Err(blame.tls("the target showed no certificate"));
    };
    let (_, certificate) =
        parse_x509_certificate(first).map_err(|error| blame.tls(format!("{error}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = certificate.validity().not_after.timestamp() - i64::try_from(now).unwrap_or(0);
    if left < 0 {
        // Also where nobody checks who issued it.
        return Err(blame.certificate("has expired", "Renew it on the server"));
    }
    if left < i64::from(days) * DAY {
        let said = format!("expires in `{}` days; the check asks for `{days}`", left / DAY);
        return Err(blame.certificate(said, "Renew it on the server"));
    }
    Ok(())
}
