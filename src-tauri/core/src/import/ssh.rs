//! Owns how `ssh -L` is read, also behind `autossh` and `sshpass`.

use super::spec::{addresses, forward, port};
use super::{Import, Refusal};
use crate::config::{ForwardSpec, SshTarget, Target};
use std::path::PathBuf;

/// ssh's letters that take a value; every other letter takes none (ssh(1)).
const VALUED: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// Options that the engine sets itself, whatever they say.
const OURS: [&str; 9] = [
    "batchmode",
    "connecttimeout",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "exitonforwardfailure",
    "serveralivecountmax",
    "serveraliveinterval",
    "tcpkeepalive",
];

#[derive(Default)]
struct Line<'a> {
    destination: Option<&'a str>,
    user: Option<&'a str>,
    port: Option<&'a str>,
    key: Option<&'a str>,
    locals: Vec<&'a str>,
    is_public: bool,
}

/// Reads what follows the program's name.
pub(super) fn read(program: &str, words: &[&str], import: &mut Import) -> Result<(), Refusal> {
    let words = unwrapped(program, words, import)?;
    let line = split(words, import)?;
    let Some(destination) = line.destination else {
        return Err(Refusal::new("the command names no host", "it reads `ssh -L … HOST`"));
    };
    if line.locals.is_empty() {
        let hint = "`-L LOCAL:HOST:PORT` is what LocalPort takes";
        return Err(Refusal::new("the command has no local forward", hint));
    }
    let mut host = host(destination)?;
    host.user = line.user.map(str::to_owned).or(host.user);
    host.key_file = line.key.map(PathBuf::from);
    if let Some(text) = line.port {
        host.port = Some(port(text).ok_or_else(|| no_port(text))?);
    }
    for text in &line.locals {
        import.forwards.push(local(text, &host, line.is_public)?);
    }
    Ok(())
}

fn no_port(text: &str) -> Refusal {
    Refusal::new(format!("`{text}` is no port"), "ports go from 1 to 65535")
}

/// The words of `ssh` itself.
fn unwrapped<'a, 'b>(
    program: &str,
    words: &'b [&'a str],
    import: &mut Import,
) -> Result<&'b [&'a str], Refusal> {
    match program {
        "sshpass" => {
            import.remark(
                "the password of `sshpass` is left out: use a key, or `password: ${VARIABLE}`"
                    .to_owned(),
            );
            let ssh = words.iter().position(|word| super::program_name(word) == "ssh");
            let ssh = ssh.ok_or_else(|| {
                Refusal::new("`sshpass` runs no `ssh` here", "give the whole command line")
            })?;
            Ok(words.get(ssh + 1..).unwrap_or_default())
        }
        "autossh" => {
            let skipped = match words {
                ["-M", _, ..] => 2,
                [first, ..] if first.starts_with("-M") => 1,
                _ => 0,
            };
            Ok(words.get(skipped..).unwrap_or_default())
        }
        _ => Ok(words),
    }
}

fn split<'a>(words: &[&'a str], import: &mut Import) -> Result<Line<'a>, Refusal> {
    let mut line = Line::default();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            line.destination = Some(word);
            break;
        };
        for (at, letter) in letters.char_indices() {
            if !VALUED.contains(letter) {
                line.is_public |= letter == 'g';
                continue;
            }
            let inline = letters.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
            let value = inline.or_else(|| words.next()).ok_or_else(|| {
                Refusal::new(format!("`-{letter}` has no value"), "copy the whole command line")
            })?;
            line.take(letter, value, import);
            break;
        }
    }
    // Options may follow the host; the first word that is none begins a remote command.
    let rest: Vec<&str> = words.collect();
    if rest.first().is_some_and(|word| word.starts_with('-')) {
        let after = split(&rest, import)?;
        line.absorb(after);
    }
    Ok(line)
}

impl<'a> Line<'a> {
    fn take(&mut self, letter: char, value: &'a str, import: &mut Import) {
        match letter {
            'L' => self.locals.push(value),
            'l' => self.user = Some(value),
            'p' => self.port = Some(value),
            'i' => self.key = Some(value),
            'o' => self.option(value, import),
            'R' | 'D' => {
                import.remark(format!("`-{letter} {value}` is left out: only `-L` is taken"));
            }
            'J' => import.remark(format!(
                "`-J {value}` is left out: write `ProxyJump {value}` for the host in ssh_config"
            )),
            'E' | 'e' | 'O' | 'Q' | 'S' => {}
            other => import.remark(format!(
                "`-{other} {value}` is left out: write it for the host in ssh_config"
            )),
        }
    }

    fn option(&mut self, value: &'a str, import: &mut Import) {
        let (name, rest) = value.split_once(['=', ' ']).unwrap_or((value, ""));
        let name = name.trim();
        match name.to_ascii_lowercase().as_str() {
            "user" => self.user = Some(rest.trim()),
            "port" => self.port = Some(rest.trim()),
            "identityfile" => self.key = Some(rest.trim()),
            "stricthostkeychecking" | "userknownhostsfile" => import.remark(format!(
                "`{name}` is left out: LocalPort asks before it trusts a host key"
            )),
            lower if OURS.contains(&lower) => {}
            _ => {
                import.remark(format!("`{value}` is left out: write it for the host in ssh_config"))
            }
        }
    }

    /// Takes what stood behind the host.
    fn absorb(&mut self, after: Line<'a>) {
        self.user = self.user.or(after.user);
        self.port = self.port.or(after.port);
        self.key = self.key.or(after.key);
        self.locals.extend(after.locals);
        self.is_public |= after.is_public;
    }
}

/// A target behind `host`, with all that `ssh` finds out by itself left to it.
pub(super) fn through(host: &str) -> SshTarget {
    SshTarget {
        host: host.to_owned(),
        user: None,
        port: None,
        key_file: None,
        password: None,
        remote_host: String::new(),
        remote_port: 0,
    }
}

/// `me@host`, `ssh://me@host:22`.
fn host(text: &str) -> Result<SshTarget, Refusal> {
    let mut found = through("");
    let (is_url, rest) = text.strip_prefix("ssh://").map_or((false, text), |rest| (true, rest));
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(u, rest)| (Some(u), rest));
    found.user = user.map(str::to_owned);
    let rest = rest.trim_end_matches('/');
    match rest.rsplit_once(':').filter(|(host, _)| is_url && !host.ends_with(':')) {
        Some((host, text)) => {
            found.host = host.to_owned();
            found.port = Some(port(text).ok_or_else(|| no_port(text))?);
        }
        None => found.host = rest.to_owned(),
    }
    Ok(found)
}

/// `[BIND:]PORT:HOST:HOSTPORT`, with IPv6 addresses in brackets; `/` separates as well.
pub(super) fn local(text: &str, host: &SshTarget, is_public: bool) -> Result<ForwardSpec, Refusal> {
    let parts = fields(text);
    let (bind, [local, remote_host, remote]) = match parts.as_slice() {
        [local, host, remote] => (None, [*local, *host, *remote]),
        [bind, local, host, remote] => (Some(*bind), [*local, *host, *remote]),
        _ => {
            return Err(Refusal::new(
                format!("`-L {text}` is not understood"),
                "LocalPort takes `-L [ADDRESS:]PORT:HOST:PORT`, no sockets",
            ));
        }
    };
    let local = port(local).ok_or_else(|| no_port(local))?;
    let remote_host = remote_host.trim_matches(['[', ']']);
    let mut target = host.clone();
    remote_host.clone_into(&mut target.remote_host);
    target.remote_port = port(remote).ok_or_else(|| no_port(remote))?;
    let is_there = matches!(remote_host, "localhost" | "127.0.0.1" | "::1");
    let name = if is_there { target.host.clone() } else { remote_host.to_owned() };
    let mut spec = forward(&name, local, Target::Ssh(target));
    let bind = match bind {
        Some("") => "*",
        None if is_public => "*",
        other => other.unwrap_or_default(),
    };
    spec.bind = addresses(bind).map_err(|address| {
        Refusal::new(format!("`{address}` is no address"), "give an IP address")
    })?;
    Ok(spec)
}

/// The parts between colons outside of brackets.
fn fields(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c == ':'
    })
    .collect()
}
