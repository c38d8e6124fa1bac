//! Owns the problems that probes meet, in words.

use localport_core::problem::{Code, Problem};
use std::fmt::Display;
use std::io;

/// The target in words, to blame it by.
#[derive(Clone, Copy)]
pub(super) struct Blame<'a>(pub(super) &'a str);

impl Blame<'_> {
    /// The target answered something else than the check asks for.
    pub(super) fn answer(self, did: impl Display, hint: &str) -> Problem {
        Problem::new(Code::TargetAnswer, format!("`{}` {did}", self.0), hint)
    }

    /// The target speaks another protocol.
    pub(super) fn stranger(self, protocol: &str) -> Problem {
        let did = format!("does not speak {protocol}");
        self.answer(did, "Check the port, and the `type` of the health check")
    }

    /// The login was refused.
    pub(super) fn login(self, said: impl Display) -> Problem {
        Problem::new(
            Code::TargetLogin,
            format!("`{}` refused the check's login: {said}", self.0),
            "Check `user`, `password` and `database` of the health check",
        )
    }

    /// The connection broke off.
    pub(super) fn broke(self, error: &io::Error) -> Problem {
        if let Some(problem) = error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()) {
            return problem.clone();
        }
        Problem::new(
            Code::TargetClosed,
            format!("`{}` closed the connection before it answered: {error}", self.0),
            "Look at the service's log; it may be starting, or expect TLS",
        )
    }

    /// TLS failed.
    pub(super) fn tls(self, said: impl Display) -> Problem {
        Problem::new(
            Code::TargetTls,
            format!("TLS with `{}` failed: {said}", self.0),
            "Check that the target speaks TLS on this port",
        )
    }

    /// The certificate is not to be trusted.
    pub(super) fn certificate(self, said: impl Display, hint: &str) -> Problem {
        let sentence = format!("the certificate of `{}` {said}", self.0);
        Problem::new(Code::TargetCertificate, sentence, hint)
    }

    /// The check cannot be carried out as it is written.
    pub(super) fn invalid(self, why: impl Display, hint: &str) -> Problem {
        let sentence = format!("the health check of `{}` cannot run: {why}", self.0);
        Problem::new(Code::CheckInvalid, sentence, hint)
    }
}
