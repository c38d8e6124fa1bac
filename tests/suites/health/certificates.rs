//! The `tls` and `https` checks against certificates that are right or wrong in one way.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use time::{Duration as Days, OffsetDateTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that says `200` over TLS, with a certificate for `name` that is valid for
/// `days` more.
async fn server(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str, days: i64) -> Server {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Days::days(400);
    params.not_after = now + Days::days(days) + Days::hours(1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |client| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let mut request = [0; 1024];
            if client.read(&mut request).await.is_ok_and(|size| size > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = client.write_all(answer).await;
                let _ = client.shutdown().await;
            }
        }
    })
    .await
}

fn trusting(file: Option<PathBuf>, name: &str) -> TlsCheck {
    TlsCheck { verify: true, server_name: Some(name.to_owned()), ca_file: file }
}

fn tls(tls: TlsCheck, min_days_left: u32) -> HealthCheckKind {
    HealthCheckKind::Tls { tls, min_days_left }
}

fn https(tls: TlsCheck) -> HealthCheckKind {
    HealthCheckKind::Http {
        url: "https://localhost/".to_owned(),
        method: "HEAD".to_owned(),
        expected_status: vec![200],
        expected_content: None,
        headers: BTreeMap::new(),
        tls,
    }
}

/// S5: a certificate is valid, expired, about to expire, another's, or nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn s5_tls_is_proved_by_a_certificate_that_is_valid() {
    let (ours, other) = (authority(), authority());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ours.pem()).unwrap();
    let name = "orders.internal";
    let good = server(&ours, name, 20).await;
    let expired = server(&ours, name, -2).await;
    let stranger = server(&other, name, 20).await;
    let plain = Server::greeter("220 mail.example ESMTP\r\n").await;
    let sshd = Sshd::start();
    let ca = || Some(file.clone());
    let lax = || TlsCheck { verify: false, ..TlsCheck::default() };
    let on = |name, server: &Server, kind| checked(name, &sshd, server.port(), kind);
    let engine = start(
        &sshd,
        vec![
            on("good", &good, tls(trusting(ca(), name), 7)),
            on("https", &good, https(trusting(ca(), name))),
            on("lax", &stranger, https(lax())),
            on("soon", &good, tls(trusting(ca(), name), 30)),
            on("expired", &expired, tls(trusting(ca(), name), 0)),
            on("expired-lax", &expired, tls(lax(), 0)),
            on("stranger", &stranger, tls(trusting(ca(), name), 0)),
            on("system", &good, tls(trusting(None, name), 0)),
            on("other-name", &good, https(trusting(ca(), "wiki.internal"))),
            on("plain", &plain, tls(trusting(ca(), name), 0)),
            on("no-file", &good, tls(trusting(Some("/nowhere/ca.pem".into()), name), 0)),
        ],
    );
    serves(&engine, "good", "tls").await;
    serves(&engine, "https", "https").await;
    serves(&engine, "lax", "https").await;
    let soon = fails(&engine, "soon", Code::TargetCertificate).await.problem.unwrap();
    assert!(soon.sentence.contains("expires in `20` days"), "{soon:?}");
    for name in ["expired", "expired-lax"] {
        let expired = fails(&engine, name, Code::TargetCertificate).await.problem.unwrap();
        assert!(expired.sentence.contains("has expired"), "{expired:?}");
    }
    let stranger = fails(&engine, "stranger", Code::TargetCertificate).await.problem.unwrap();
    assert!(stranger.hint.contains("ca_file"), "{stranger:?}");
    fails(&engine, "system", Code::TargetCertificate).await;
    let other = fails(&engine, "other-name", Code::TargetCertificate).await.problem.unwrap();
    assert!(other.sentence.contains("`wiki.internal`"), "{other:?}");
    fails(&engine, "plain", Code::TargetTls).await;
    fails(&engine, "no-file", Code::CheckInvalid).await;
    engine.stop().await;
}
