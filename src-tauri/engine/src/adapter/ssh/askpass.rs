//! Owns how a configured password reaches `ssh`: through SSH_ASKPASS, from memory to
//! memory.
//!
//! `ssh` runs this program again as its helper; the helper passes the question over a
//! private socket and prints the answer. The password is never in a file, an argument or
//! an environment variable, and goes to the destination's own question only.

#[cfg_attr(unix, path = "askpass/unix.rs")]
#[cfg_attr(windows, path = "askpass/windows.rs")]
mod platform;

use super::destination::Destination;
use super::dir::PrivateDir;
use crate::registry::Tasks;
use localport_core::config::Secret;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Tells the helper where to ask. Its presence makes a process the helper.
const ADDRESS_VARIABLE: &str = "LOCALPORT_ASKPASS";

/// Longest question, in bytes.
const QUESTION_LIMIT: u64 = 4096;

/// Acts as the helper when this process was started as one, and gives its exit code.
/// Every program that hosts an engine calls it first.
#[must_use]
pub fn run_helper() -> Option<ExitCode> {
    let address = std::env::var_os(ADDRESS_VARIABLE)?;
    let question = std::env::args().nth(1).unwrap_or_default();
    match ask(&address, &question) {
        Ok(()) => Some(ExitCode::SUCCESS),
        // No answer is an answer: `ssh` then takes it as a no.
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Answers the helper for one destination, until it is dropped.
pub(super) struct Askpass {
    env: Vec<(OsString, OsString)>,
    _end: DropGuard,
}

/// Which questions get the password.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    /// Names of the destination: as configured, and as ssh_config resolves it.
    hosts: Vec<String>,
    /// Whether nobody else on the way could ask: no jump host, no proxy command.
    direct: bool,
}

impl Askpass {
    /// Listens in `dir`, with `program` as the helper.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn listen(
        dir: &PrivateDir,
        program: &Path,
        asker: Asker,
        password: Secret,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let (mut listener, address) = platform::Listener::bind(dir.path())?;
        let end = CancellationToken::new();
        let ended = end.clone();
        tasks.spawn("ssh askpass", async move {
            let serve = async {
                while let Ok(client) = listener.accept().await {
                    // A helper that breaks off costs `ssh` its answer and nothing else.
                    let _ = answer(client, &asker, &password).await;
                }
            };
            ended.run_until_cancelled(serve).await;
        });
        let mut env: Vec<(OsString, OsString)> = vec![
            ("SSH_ASKPASS".into(), program.into()),
            ("SSH_ASKPASS_REQUIRE".into(), "force".into()),
            (ADDRESS_VARIABLE.into(), address),
        ];
        if std::env::var_os("DISPLAY").is_none() {
            // OpenSSH before 8.4 asks a helper only where it believes in a display.
            env.push(("DISPLAY".into(), "none".into()));
        }
        Ok(Self { env, _end: end.drop_guard() })
    }

    /// What `ssh` has to find in its environment.
    pub(super) fn env(&self) -> Vec<(OsString, OsString)> {
        self.env.clone()
    }
}

impl Asker {
    /// `settings` is what `ssh -G` says of the destination.
    pub(super) fn new(destination: &Destination, settings: &str) -> Self {
        let setting = |name| super::hostkey::setting(settings, name);
        let mut hosts = vec![destination.host.to_lowercase()];
        hosts.extend(setting("hostname").map(str::to_lowercase));
        let direct = setting("proxyjump").is_none() && setting("proxycommand").is_none();
        Self { hosts, direct }
    }

    /// Whether the password answers `question`: it must ask for a password, and for the
    /// destination's, not for a jump host's.
    fn answers(&self, question: &str) -> bool {
        let question = question.to_lowercase();
        if !question.contains("password") || question.contains("yes/no") {
            return false;
        }
        let named = self.hosts.iter().any(|host| {
            // `me@host's password:` and, for keyboard-interactive, `(me@host) Password:`.
            question.contains(&format!("@{host}'s password"))
                || (question.starts_with('(') && question.contains(&format!("@{host}) ")))
        });
        let names_somebody = question.contains('@');
        named || (self.direct && !names_somebody)
    }
}

async fn answer(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    asker: &Asker,
    password: &Secret,
) -> io::Result<()> {
    let mut question = String::new();
    BufReader::new((&mut client).take(QUESTION_LIMIT)).read_line(&mut question).await?;
    if asker.answers(&question) {
        client.write_all(password.expose().as_bytes()).await?;
    }
    client.shutdown().await
}

fn ask(address: &std::ffi::OsStr, question: &str) -> io::Result<()> {
    let mut engine = platform::connect(address)?;
    let question = question.replace(['\n', '\r'], " ");
    engine.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = Vec::new();
    engine.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    answer.push(b'\n');
    io::stdout().write_all(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination {
            host: "Bastion".into(),
            user: None,
            port: None,
            key_file: None,
            password: Some(Secret::new("x".into())),
        }
    }

    #[test]
    fn only_the_destinations_own_question_is_answered() {
        let direct = Asker::new(&destination(), "hostname 10.0.0.2\nport 22\n");
        let through = Asker::new(&destination(), "hostname 10.0.0.2\nproxyjump jump\n");
        let table = [
            ("me@10.0.0.2's password: ", true, true),
            ("me@bastion's password: ", true, true),
            ("(me@10.0.0.2) Password: ", true, true),
            ("Password: ", true, false),
            ("me@jump's password: ", false, false),
            ("(me@jump) Password: ", false, false),
            ("Enter passphrase for key '/k': ", false, false),
            ("Are you sure you want to continue connecting (yes/no/[fingerprint])? ", false, false),
        ];
        for (question, if_direct, if_through) in table {
            assert_eq!(direct.answers(question), if_direct, "{question}");
            assert_eq!(through.answers(question), if_through, "{question}");
        }
    }
}
