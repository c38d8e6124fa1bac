//! Owns the single steps of the way to an SSH host, for a diagnosis that walks them one by
//! one: what ssh_config makes of it, the name, the connection, the greeting.
//!
//! Receives a target; emits what each step found, or its problem.

use super::destination::Destination;
use super::hostkey::{self, setting};
use super::master::internal;
use super::{SshAdapter, classify};
use localport_core::config::SshTarget;
use localport_core::problem::{Code, Problem};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for one step of the network.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a greeting that are read: RFC 4253 allows lines before the version.
const GREETING: usize = 8 * 1024;

/// What `ssh` makes of a host by its own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The host to connect to.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// The login name.
    pub(crate) user: String,
    /// Hosts in between, the first one first.
    pub(crate) jumps: Vec<String>,
    /// Whether a command makes the connection.
    pub(crate) by_command: bool,
    /// Where a line applies: file and line.
    pub(crate) applied: Vec<String>,
}

impl SshAdapter {
    /// What `ssh` makes of the host of `target`.
    pub(crate) async fn resolve(&self, target: &SshTarget) -> Result<Resolved, Problem> {
        let destination = Destination::of(target);
        self.asked(destination.place_args(), &destination.words()).await
    }

    /// The same for a jump host, as `ProxyJump` writes it.
    pub(crate) async fn resolve_jump(&self, jump: &str) -> Result<Resolved, Problem> {
        let place =
            if jump.starts_with("ssh://") { jump.to_owned() } else { format!("ssh://{jump}") };
        self.asked(vec!["--".into(), place.into()], jump).await
    }

    async fn asked(&self, place: Vec<OsString>, words: &str) -> Result<Resolved, Problem> {
        let options = &self.ground.options;
        let mut args = vec![OsString::from("-v"), "-G".into()];
        args.extend(options.extra_args.iter().cloned());
        args.extend(place);
        let output =
            hostkey::ask(&self.ground, args).await.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => classify::missing(&options.ssh.display().to_string()),
                _ => internal(error),
            })?;
        if !output.success {
            return Err(unreadable(&output.stderr, words));
        }
        Ok(read(&output.stdout, &output.stderr))
    }
}

impl Resolved {
    /// The first host that is connected to.
    pub(crate) fn words(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Its addresses.
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, Problem> {
        let place = (self.host.trim_matches(['[', ']']), self.port);
        let found = match timeout(STEP_LIMIT, tokio::net::lookup_host(place)).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        if found.is_empty() {
            let line = format!("ssh: Could not resolve hostname {}: unknown", self.host);
            return Err(classify::classify(&[line], &self.words()));
        }
        Ok(found)
    }

    /// A connection to the first of `addresses` that answers.
    pub(crate) async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Problem> {
        crate::explain::reach(addresses, STEP_LIMIT).await.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
                io::ErrorKind::TimedOut => "Connection timed out".to_owned(),
                _ => error.to_string(),
            };
            let line = format!("ssh: connect to host {} port {}: {why}", self.host, self.port);
            classify::classify(&[line], &self.words())
        })
    }

    /// The version that the server greets with.
    pub(crate) async fn greeting(&self, mut stream: TcpStream) -> Result<String, Problem> {
        let read = async {
            let mut said = Vec::new();
            while said.len() < GREETING {
                let byte = stream.read_u8().await?;
                if byte != b'\n' {
                    said.push(byte);
                    continue;
                }
                let line = String::from_utf8_lossy(&said).trim().to_owned();
                if line.starts_with("SSH-") {
                    return Ok(Some(line.chars().filter(|c| !c.is_control()).collect()));
                }
                said.clear();
            }
            io::Result::Ok(None)
        };
        let why = match timeout(STEP_LIMIT, read).await {
            Ok(Ok(Some(version))) => return Ok(version),
            Ok(Ok(None)) => "speaks, but not SSH".to_owned(),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "closed the connection without a greeting".to_owned()
            }
            Ok(Err(error)) => format!("broke the connection off: {error}"),
            Err(_) => {
                format!("accepts connections but says nothing for {} s", STEP_LIMIT.as_secs())
            }
        };
        Err(Problem::new(
            Code::SshUnreachable,
            format!("what listens at `{}` {why}", self.words()),
            "Check `host` and `port`; a server that is overloaded or asleep behind a firewall \
             looks like this, too",
        ))
    }
}

fn read(stdout: &str, stderr: &str) -> Resolved {
    let text = |key: &str| setting(stdout, key).filter(|value| *value != "none");
    let jumps = text("proxyjump").map(|jumps| jumps.split(',').map(str::to_owned).collect());
    let applied = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("debug1: ")?.split_once(": Applying options for"))
        .map(|(place, _)| place.to_owned());
    Resolved {
        host: text("hostname").unwrap_or_default().to_owned(),
        port: text("port").and_then(|port| port.parse().ok()).unwrap_or(22),
        user: text("user").unwrap_or_default().to_owned(),
        jumps: jumps.unwrap_or_default(),
        by_command: text("proxycommand").is_some(),
        applied: applied.collect(),
    }
}

fn unreadable(stderr: &str, words: &str) -> Problem {
    let said = stderr.lines().map(str::trim).filter(|line| !line.starts_with("debug1:"));
    let said = said.filter(|line| !line.starts_with("OpenSSH_") && !line.is_empty());
    // The line with the place comes first; a count of the bad lines follows.
    let said = said.take(1).collect::<String>();
    Problem::new(
        Code::SshFailed,
        format!("`ssh` cannot use its configuration for `{words}`: {said}"),
        "Correct the line in your ssh_config",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_prints_is_taken_apart() {
        let stdout = "host wiki\nuser me\nhostname 10.0.0.9\nport 2222\n\
            proxyjump a@one,two:23\nproxycommand none\n";
        let stderr = "OpenSSH_9.2p1\ndebug1: Reading configuration data /home/me/.ssh/config\n\
            debug1: /home/me/.ssh/config line 3: Applying options for wiki\n";
        let expected = Resolved {
            host: "10.0.0.9".to_owned(),
            port: 2222,
            user: "me".to_owned(),
            jumps: vec!["a@one".to_owned(), "two:23".to_owned()],
            by_command: false,
            applied: vec!["/home/me/.ssh/config line 3".to_owned()],
        };
        assert_eq!(read(stdout, stderr), expected);
    }

    #[test]
    fn a_bad_line_is_named_by_its_place() {
        let problem = unreadable(
            "OpenSSH_9.2p1\ndebug1: Reading configuration data /c\n\
             /c: line 2: Bad configuration option: hots\n/c: terminating, 1 bad configuration options\n",
            "wiki",
        );
        assert!(problem.sentence.ends_with("/c: line 2: Bad configuration option: hots"));
    }
}
