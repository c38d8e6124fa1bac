//! Owns the certificates of a double: an authority for its kubeconfig, and a server
//! certificate that is right or wrong in one way.

use super::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Where the authority's certificate lies in a server's directory.
pub(crate) fn authority(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// The server's side of TLS; none for plain HTTP. Writes the authority's certificate.
pub(crate) fn acceptor(tls: Tls, dir: &Path) -> io::Result<Option<TlsAcceptor>> {
    if tls == Tls::Off {
        return Ok(None);
    }
    build(tls, dir).map(Some).map_err(io::Error::other)
}

fn build(tls: Tls, dir: &Path) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let trusted = issuer()?;
    fs::write(authority(dir), trusted.pem())?;
    let signer = if tls == Tls::UnknownIssuer { issuer()? } else { trusted };
    let names = match tls {
        Tls::WrongName => vec![super::ELSEWHERE.to_owned()],
        _ => vec!["127.0.0.1".to_owned(), super::NAME.to_owned()],
    };
    let mut params = CertificateParams::new(names)?;
    if tls == Tls::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &signer)?;
    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    write_client(dir, &signer)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = if tls == Tls::Mutual {
        let mut roots = RootCertStore::empty();
        roots.add(signer.der().clone())?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
        )
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], private)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A client's certificate and key, which [`Tls::Mutual`] asks for.
fn write_client(
    dir: &Path,
    signer: &CertifiedIssuer<'static, KeyPair>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["client".to_owned()])?.signed_by(&key, signer)?;
    fs::write(dir.join("client.pem"), certificate.pem())?;
    fs::write(dir.join("client.key"), key.serialize_pem())?;
    Ok(())
}

fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}
