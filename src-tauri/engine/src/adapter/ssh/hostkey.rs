//! Owns host keys that `ssh` could not verify: what they are, and how an unknown one is
//! accepted.
//!
//! Receives failed attempts and a person's trust; emits fingerprints, and the lines that
//! `ssh` itself would write to known_hosts.

mod words;

use super::Ground;
use super::destination::Destination;
use super::master::internal;
use crate::process::{Captured, ChildSpec};
use localport_core::problem::{Code, Problem};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use words::Finding;

pub(super) use words::setting;

/// Time a question to `ssh` may take; it connects once, perhaps through jump hosts.
const QUESTION: Duration = Duration::from_secs(30);

/// Options of a connection that only looks at the host key: nobody logs in.
const LOOK: &[&str] = &[
    "BatchMode=yes",
    "PreferredAuthentications=none",
    "ConnectTimeout=10",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "UpdateHostKeys=no",
];

/// An unknown key that was shown to a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    finding: Finding,
    /// Further arguments and the destination that lead to the host it belongs to.
    hop: Hop,
}

/// A host on the way, which may be the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hop {
    args: Vec<OsString>,
}

/// `problem` of an attempt, with what only a second look can tell: fingerprints, and
/// whether the key file is locked.
pub(super) async fn explain(
    ground: &Ground,
    destination: &Destination,
    problem: Problem,
    tail: &[String],
) -> Problem {
    match problem.code {
        Code::SshHostKeyUnknown => unknown(ground, destination, problem).await,
        Code::SshHostKeyChanged => changed(ground, problem, tail).await,
        Code::SshAuthRefused => locked(ground, destination, problem).await,
        _ => problem,
    }
}

/// Accepts the key that was shown for `destination` and gives its fingerprint: the key
/// is fetched again, compared, and only then written to the person's known_hosts.
pub(super) async fn trust(ground: &Ground, destination: &Destination) -> Result<String, Problem> {
    let shown = ground.shown(destination).ok_or_else(|| nothing_shown(destination))?;
    let dir = ground.private_dir().await.map_err(internal)?;
    let fetched = dir.path().join("known_hosts");
    let lines = fetch(ground, &shown, &fetched).await?;
    for line in lines.lines() {
        let fingerprint = fingerprint(ground, line).await?;
        if fingerprint != shown.finding.fingerprint {
            ground.forget(destination);
            return Err(swapped(&shown.finding, &fingerprint));
        }
    }
    let file = known_hosts(ground, &shown.hop).await?;
    append(&file, &lines).map_err(|error| not_written(&file, &error))?;
    ground.forget(destination);
    Ok(shown.finding.fingerprint)
}

async fn unknown(ground: &Ground, destination: &Destination, problem: Problem) -> Problem {
    let mut options = vec!["StrictHostKeyChecking=yes"];
    options.extend(LOOK);
    let mut args = vec![OsString::from("-v"), "-N".into()];
    args.extend(destination.plain_args(&ground.options.extra_args, &options));
    let Ok(output) = ssh(ground, destination, args).await else { return problem };
    let Some(finding) = words::finding(&output.stderr) else { return problem };
    let Some(hop) = hop(ground, destination, &finding).await else { return problem };
    let problem = words::unknown_key(&destination.words(), &finding);
    ground.show(destination, Shown { finding, hop });
    problem
}

/// Adds the fingerprint of the key that was known.
async fn changed(ground: &Ground, mut problem: Problem, tail: &[String]) -> Problem {
    let place = tail.iter().find_map(|line| words::offending(line));
    let Some((file, number)) = place else { return problem };
    let line = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.lines().nth(number.checked_sub(1)?).map(str::to_owned));
    if let Some(line) = line
        && let Ok(old) = fingerprint(ground, &line).await
    {
        problem.sentence.push_str(&format!(" instead of `{old}`"));
    }
    problem
}

/// A key with a passphrase that no agent holds looks like a refused login.
async fn locked(ground: &Ground, destination: &Destination, problem: Problem) -> Problem {
    let Some(key) = &destination.key_file else { return problem };
    let args = ["-y".into(), "-P".into(), OsString::new(), "-f".into(), key.into()];
    let Ok(output) = keygen(ground, args.into(), b"").await else { return problem };
    if !output.stderr.contains("passphrase") {
        return problem;
    }
    let file = key.display();
    Problem::new(
        Code::SshKeyFile,
        format!("the key file `{file}` has a passphrase, and no agent holds the key"),
        format!("unlock it in your agent: `ssh-add {file}`"),
    )
}

/// Fetches the key as the line or lines that `ssh` would write.
async fn fetch(ground: &Ground, shown: &Shown, into: &Path) -> Result<String, Problem> {
    let file = format!("UserKnownHostsFile=\"{}\"", into.display());
    let mut options = vec![&*file, "StrictHostKeyChecking=accept-new"];
    options.extend(LOOK);
    let mut args = vec![OsString::from("-N")];
    args.extend(Destination::options(&options));
    args.extend(ground.options.extra_args.iter().cloned());
    args.extend(shown.hop.args.iter().cloned());
    let output = ask(ground, args).await.map_err(internal)?;
    let lines = fs::read_to_string(into).unwrap_or_default();
    if lines.trim().is_empty() {
        let said: Vec<String> = output.stderr.lines().map(str::to_owned).collect();
        return Err(super::classify::classify(&said, &shown.finding.place));
    }
    Ok(lines)
}

/// Which host on the way showed the key: the destination or one of its jump hosts.
async fn hop(ground: &Ground, destination: &Destination, finding: &Finding) -> Option<Hop> {
    let last = Hop { args: destination.place_args() };
    let settings = settings(ground, &last).await.ok()?;
    if words::place(&settings).as_ref() == Some(&finding.place) {
        return Some(last);
    }
    let jumps = words::setting(&settings, "proxyjump")?;
    let hops: Vec<&str> = jumps.split(',').collect();
    for (index, jump) in hops.iter().enumerate() {
        let mut args = Vec::new();
        if let Some(before) = hops.get(..index).filter(|before| !before.is_empty()) {
            args.extend([OsString::from("-J"), before.join(",").into()]);
        }
        let place =
            if jump.starts_with("ssh://") { (*jump).to_owned() } else { format!("ssh://{jump}") };
        args.extend([OsString::from("--"), place.into()]);
        let hop = Hop { args };
        let settings = self::settings(ground, &hop).await.ok()?;
        if words::place(&settings).as_ref() == Some(&finding.place) {
            return Some(hop);
        }
    }
    None
}

/// The first file that `ssh` would look the host up in and write to.
async fn known_hosts(ground: &Ground, hop: &Hop) -> Result<PathBuf, Problem> {
    let settings = settings(ground, hop).await?;
    let files = words::setting(&settings, "userknownhostsfile").unwrap_or_default();
    let first = files.split(' ').next().unwrap_or_default();
    if first.is_empty() || first == "none" || first == "/dev/null" {
        return Err(Problem::new(
            Code::SshFailed,
            "your ssh_config keeps no known_hosts file, so nothing can be trusted for good",
            "set `UserKnownHostsFile` in your ssh_config",
        ));
    }
    match first.strip_prefix("~/") {
        Some(rest) => dirs::home_dir().map(|home| home.join(rest)).ok_or_else(|| {
            internal(io::Error::new(io::ErrorKind::NotFound, "the user has no home directory"))
        }),
        None => Ok(PathBuf::from(first)),
    }
}

/// What `ssh -G` says of a host.
async fn settings(ground: &Ground, hop: &Hop) -> Result<String, Problem> {
    let mut args = vec![OsString::from("-G")];
    args.extend(ground.options.extra_args.iter().cloned());
    args.extend(hop.args.iter().cloned());
    Ok(ask(ground, args).await.map_err(internal)?.stdout)
}

/// What ssh_config makes of `destination`, as `ssh -G` prints it.
pub(super) async fn resolved(
    ground: &Ground,
    destination: &Destination,
) -> Result<String, Problem> {
    settings(ground, &Hop { args: destination.place_args() }).await
}

async fn fingerprint(ground: &Ground, line: &str) -> Result<String, Problem> {
    let output = keygen(ground, vec!["-l".into(), "-f".into(), "-".into()], line.as_bytes())
        .await
        .map_err(internal)?;
    output.stdout.split_whitespace().nth(1).map(str::to_owned).ok_or_else(|| {
        internal(io::Error::other(format!("`ssh-keygen` said: {}", output.stderr.trim())))
    })
}

async fn ssh(
    ground: &Ground,
    destination: &Destination,
    args: Vec<OsString>,
) -> io::Result<Captured> {
    tracing::debug!(destination = destination.words(), "looking at the host key");
    ask(ground, args).await
}

pub(super) async fn ask(ground: &Ground, args: Vec<OsString>) -> io::Result<Captured> {
    ground.children.capture(spec(ground.options.ssh.clone(), args), b"", QUESTION).await
}

async fn keygen(ground: &Ground, args: Vec<OsString>, input: &[u8]) -> io::Result<Captured> {
    // Beside the `ssh` that is used, where that was given by its path.
    let program = ground.options.ssh.with_file_name("ssh-keygen");
    ground.children.capture(spec(program, args), input, QUESTION).await
}

fn spec(program: PathBuf, args: Vec<OsString>) -> ChildSpec {
    ChildSpec {
        name: program.display().to_string(),
        owner: "ssh".to_owned(),
        program,
        args,
        env: Vec::new(),
        dir: None,
    }
}

fn append(file: &Path, lines: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        private_parent(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(file)?;
    let mut text = String::new();
    if file.metadata()?.len() > 0 {
        // A last line without its end would swallow ours.
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            text.push('\n');
        }
    }
    text.push_str(lines);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn private_parent(parent: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.recursive(true).create(parent)
}

fn nothing_shown(destination: &Destination) -> Problem {
    Problem::new(
        Code::SshHostKeyUnknown,
        format!("no unknown host key of `{}` waits to be trusted", destination.words()),
        "start the forward first: its problem then shows the fingerprint",
    )
}

fn swapped(finding: &Finding, now: &str) -> Problem {
    Problem::new(
        Code::SshHostKeyChanged,
        format!(
            "`{}` showed `{}` before and `{now}` now, so nothing was trusted",
            finding.place, finding.fingerprint
        ),
        "somebody may be in between: ask the host's owner for the fingerprint",
    )
}

fn not_written(file: &Path, error: &io::Error) -> Problem {
    Problem::new(
        Code::SshFailed,
        format!("`{}` could not be written: {error}", file.display()),
        "check the file's owner and its permissions",
    )
}
