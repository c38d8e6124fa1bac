//! Owns TLS over a session's stream: who is trusted, and which name is expected.

use super::words::Blame;
use crate::adapter::Upstream;
use localport_core::config::TlsCheck;
use localport_core::problem::Problem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of a target, plain or not.
pub(super) type Stream = Box<dyn Upstream>;

/// A handshake over `stream` with the name that the check gives, else `host`.
pub(super) async fn secure(
    stream: Stream,
    tls: &TlsCheck,
    host: &str,
    protocols: &[&[u8]],
    blame: Blame<'_>,
) -> Result<TlsStream<Stream>, Problem> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let server = ServerName::try_from(name.to_owned()).map_err(|_| {
        blame.invalid(format!("`{name}` is not a name for TLS"), "Correct `server_name`")
    })?;
    let connector = TlsConnector::from(Arc::new(config(tls, protocols, blame)?));
    connector.connect(server, stream).await.map_err(|error| problem(&error, name, blame))
}

/// What TLS is done with.
pub(super) fn config(
    tls: &TlsCheck,
    protocols: &[&[u8]],
    blame: Blame<'_>,
) -> Result<ClientConfig, Problem> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(tls, provider.clone(), blame)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| blame.tls(error))?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

fn verifier(
    tls: &TlsCheck,
    provider: Arc<CryptoProvider>,
    blame: Blame<'_>,
) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    if !tls.verify {
        return Ok(Arc::new(Unchecked(provider)));
    }
    let Some(file) = &tls.ca_file else {
        let verifier = Verifier::new(provider).map_err(|error| blame.tls(error))?;
        return Ok(Arc::new(verifier));
    };
    let unusable = |why: String| {
        let why = format!("`ca_file` `{}` {why}", file.display());
        blame.invalid(why, "Name a file with certificates in PEM")
    };
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file);
    for certificate in certificates.map_err(|error| unusable(format!("cannot be read: {error}")))? {
        let certificate = certificate.map_err(|error| unusable(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| unusable(format!("is not usable: {error}")))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(verifier.map_err(|error| unusable(format!("holds no authority: {error}")))?)
}

/// What went wrong in a handshake, in words.
pub(super) fn problem(error: &io::Error, name: &str, blame: Blame<'_>) -> Problem {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(fault)) = tls else {
        return match tls {
            Some(tls) => blame.tls(tls),
            None => blame.broke(error),
        };
    };
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            blame.certificate("has expired", "Renew it on the server")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            blame.certificate("is not valid yet", "Check the clocks of both machines")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => blame.certificate(
            "was issued by nobody that this machine trusts",
            "Name the authority's file in `ca_file`, or set `verify_ssl: false`",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            blame.certificate(
                format!("is not for the name `{name}`"),
                "Write the name it is for in `server_name`",
            )
        }
        other => blame.certificate(format!("is not accepted: {other}"), "Replace it"),
    }
}

/// Takes every certificate, as `verify_ssl: false` asks.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
