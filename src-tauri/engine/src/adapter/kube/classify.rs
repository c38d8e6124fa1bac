//! Owns what an error of the Kubernetes client means, as a [`Fault`].

use super::road::{ProxyError, ViaError};
use kube::Error;
use localport_core::kube::{Fault, Right, TlsFault};
use std::error::Error as StdError;
use std::io;

/// What the user was doing, for a refusal or an absence.
pub(super) struct Doing {
    /// The right it takes.
    pub(super) right: Right,
    /// What is absent when the server says 404: its kind and name.
    pub(super) subject: (&'static str, String),
}

impl Doing {
    /// `verb` on `resource`, about the `kind` called `name`.
    pub(super) fn new(verb: &str, resource: &str, kind: &'static str, name: &str) -> Self {
        let right = Right { verb: verb.to_owned(), resource: resource.to_owned() };
        Self { right, subject: (kind, name.to_owned()) }
    }
}

/// The fault that `error` is.
pub(super) fn fault(error: &Error, doing: &Doing) -> Fault {
    match error {
        Error::Api(status) => match status.code {
            401 => Fault::Unauthorized,
            403 => Fault::Forbidden { missing: vec![doing.right.clone()] },
            404 => {
                let (kind, name) = &doing.subject;
                // The server answers so for what lies in a namespace that is gone as well.
                Fault::Missing { kind, name: name.clone() }
            }
            code @ (429 | 503 | 504) => Fault::Overloaded { status: code },
            code => Fault::Other { said: said(&status.message, code) },
        },
        other => transport(other),
    }
}

/// Whether the credentials were refused.
pub(super) fn is_unauthorized(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 401)
}

/// Whether the resource version is too old to go on from.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 410)
}

/// The fault of a connection that could not be made or broke.
pub(super) fn transport(error: &(dyn StdError + 'static)) -> Fault {
    let mut deepest = error.to_string();
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(fault) = known(current) {
            return fault;
        }
        deepest = current.to_string();
        next = inner(current);
    }
    Fault::Unreachable { why: deepest }
}

fn known(error: &(dyn StdError + 'static)) -> Option<Fault> {
    if let Some(ProxyError { proxy, said }) = error.downcast_ref() {
        return Some(Fault::Proxy { proxy: proxy.clone(), said: said.clone() });
    }
    if let Some(ViaError { via, problem }) = error.downcast_ref() {
        return Some(Fault::Via { via: via.clone(), problem: Box::new(problem.clone()) });
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        // On the loopback a connection to a port that nobody has may meet itself, when the
        // system gives its own end that port: local clusters listen on such ports.
        if let rustls::Error::InappropriateHandshakeMessage { got_type, .. } = tls
            && *got_type == rustls::HandshakeType::ClientHello
        {
            return Some(Fault::Refused);
        }
        return Some(Fault::Tls(tls_fault(tls)));
    }
    if let Some(io) = error.downcast_ref::<io::Error>() {
        return match io.kind() {
            io::ErrorKind::ConnectionRefused => Some(Fault::Refused),
            io::ErrorKind::TimedOut => Some(Fault::Timeout),
            _ => None,
        };
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        return Some(Fault::Timeout);
    }
    // hyper-util keeps the type private; this is its whole text.
    (error.to_string() == "dns error").then_some(Fault::Dns)
}

/// The error behind `error`. `io::Error::source` skips the error that it wraps.
fn inner<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn tls_fault(error: &rustls::Error) -> TlsFault {
    use rustls::CertificateError as Cert;
    match error {
        // A rebuilt cluster signs with a new key under the old authority's name.
        rustls::Error::InvalidCertificate(Cert::UnknownIssuer | Cert::BadSignature) => {
            TlsFault::UnknownIssuer
        }
        rustls::Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            TlsFault::Expired
        }
        rustls::Error::InvalidCertificate(
            Cert::NotValidForName | Cert::NotValidForNameContext { .. },
        ) => TlsFault::WrongName,
        other => TlsFault::Other(other.to_string()),
    }
}

fn said(message: &str, code: u16) -> String {
    match message.lines().next() {
        Some(line) if !line.trim().is_empty() => format!("{} ({code})", line.trim()),
        _ => format!("status {code}"),
    }
}
