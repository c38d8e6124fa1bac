//! Owns the meaning of what `ssh` prints when it fails. Pure: words in, problem out.
//!
//! The words are those of OpenSSH 8 to 10, read from its sources and seen on 9.2.

use localport_core::problem::{Code, Problem};

/// The problem behind the last lines of an `ssh` that ended; `destination` is how people
/// write it.
pub(super) fn classify(lines: &[String], destination: &str) -> Problem {
    let words = Words { lines, destination };
    None.or_else(|| words.host_key())
        .or_else(|| words.name())
        .or_else(|| words.jump())
        .or_else(|| words.reach())
        .or_else(|| words.auth())
        .or_else(|| words.end())
        .unwrap_or_else(|| words.other())
}

/// Whether a line of `ssh` is worth a place in a forward's history: what each connection
/// says is told by the connection itself.
pub(super) fn is_note(line: &str) -> bool {
    const OURS: &[&str] =
        &["Authenticated to ", "Transferred: ", "Bytes per second: ", "debug1: ", "debug2: "];
    let about_channel = line.starts_with("channel ") && line.contains(": open failed:");
    !about_channel
        && !line.starts_with("chan_send_close2:")
        && !line.starts_with("mux_client")
        && !OURS.iter().any(|start| line.starts_with(start))
}

/// Whether the line says that the server accepted us.
pub(super) fn is_authenticated(line: &str) -> bool {
    line.starts_with("Authenticated to ")
}

/// The problem of a dial that the server refused, by RFC 4254's reason and its words.
pub(super) fn refused(prohibited: bool, text: &str, target: &str, destination: &str) -> Problem {
    if prohibited {
        return Problem::new(
            Code::SshForwardingForbidden,
            format!("`{destination}` does not allow forwarding to `{target}`"),
            "ask for `AllowTcpForwarding` and `PermitOpen` in the server's sshd_config, and \
             look at the options of your key in its authorized_keys",
        );
    }
    let said = if text.is_empty() { "refused" } else { text };
    if contains(said, "timed out") {
        return timed_out(target, destination);
    }
    let hint = if contains(said, "Name or service") || contains(said, "unknown host") {
        "the name has to resolve on the SSH host, not here: check `remote_host`"
    } else {
        "start the service there, or check `remote_host` and `remote_port`"
    };
    Problem::new(
        Code::TargetRefused,
        format!("`{target}` cannot be reached from `{destination}`: {}", lower_first(said)),
        hint,
    )
}

/// The problem of a dial without an answer.
pub(super) fn timed_out(target: &str, destination: &str) -> Problem {
    Problem::new(
        Code::TargetTimeout,
        format!("`{target}` does not answer `{destination}`"),
        "check the address, and any firewall between the SSH host and the target",
    )
}

/// The problem of a far side that no longer answers.
pub(super) fn frozen(destination: &str) -> Problem {
    Problem::new(
        Code::SshFrozen,
        format!("`{destination}` no longer answers"),
        "nothing to do: LocalPort connects again by itself; the host or the network between \
         may be overloaded, asleep or gone",
    )
}

/// The problem of a machine without OpenSSH.
pub(super) fn missing(program: &str) -> Problem {
    let install = if cfg!(windows) {
        "add the optional feature OpenSSH Client in Windows' settings"
    } else {
        "install the OpenSSH client (Debian, Ubuntu: `apt install openssh-client`)"
    };
    Problem::new(Code::SshMissing, format!("the program `{program}` was not found"), install)
}

struct Words<'a> {
    lines: &'a [String],
    destination: &'a str,
}

impl Words<'_> {
    fn find(&self, part: &str) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| contains(line, part))
    }

    fn any(&self, parts: &[&str]) -> Option<&str> {
        parts.iter().find_map(|part| self.find(part))
    }

    fn host_key(&self) -> Option<Problem> {
        if self.find("HOST IDENTIFICATION HAS CHANGED").is_some() {
            let place = self.offending().unwrap_or("the known_hosts file");
            let shown = self
                .lines
                .iter()
                .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("SHA256:")))
                .map(|word| word.trim_end_matches('.'))
                .next()
                .unwrap_or("unknown");
            return Some(Problem::new(
                Code::SshHostKeyChanged,
                format!(
                    "the host key of `{}` is another one than known: it now shows `{shown}`",
                    self.destination
                ),
                format!(
                    "somebody may be in between: ask the host's owner for the fingerprint; if \
                     the host was set up anew, remove `{place}` and trust the new key"
                ),
            ));
        }
        self.find("Host key verification failed").map(|_| {
            Problem::new(
                Code::SshHostKeyUnknown,
                format!("the host key of `{}` is not known yet", self.destination),
                "compare the fingerprint with the host's owner, then trust it",
            )
        })
    }

    fn name(&self) -> Option<Problem> {
        let line = self.find("Could not resolve hostname")?;
        let host = line
            .split("hostname ")
            .nth(1)
            .and_then(|rest| rest.split(':').next())
            .unwrap_or(self.destination);
        Some(Problem::new(
            Code::SshUnknownHost,
            format!("the host name `{host}` does not resolve"),
            "check the name, and whether it needs a VPN that is off",
        ))
    }

    fn jump(&self) -> Option<Problem> {
        self.find("stdio forwarding failed")?;
        let line = self.find("open failed:").unwrap_or("stdio forwarding failed");
        if contains(line, "administratively prohibited") {
            return Some(Problem::new(
                Code::SshForwardingForbidden,
                format!("the jump host does not allow the way to `{}`", self.destination),
                "ask for `AllowTcpForwarding` and `PermitOpen` in the jump host's sshd_config",
            ));
        }
        Some(self.unreachable(&format!("the jump host says: {}", after_last_colon(line))))
    }

    fn reach(&self) -> Option<Problem> {
        if let Some(line) = self.find("connect to host ") {
            return Some(self.unreachable(&lower_first(after_last_colon(line))));
        }
        let line = self.any(&[
            "banner exchange",
            "kex_exchange_identification",
            "Connection timed out during",
            "ssh_exchange_identification",
        ])?;
        Some(self.unreachable(&lower_first(after_last_colon(line))))
    }

    fn unreachable(&self, why: &str) -> Problem {
        let hint = if contains(why, "refused") {
            "no SSH server listens there: start it, or check `host` and `port`"
        } else {
            "check the network, the VPN, and `host` and `port`"
        };
        Problem::new(
            Code::SshUnreachable,
            format!("`{}` cannot be reached: {why}", self.destination),
            hint,
        )
    }

    fn auth(&self) -> Option<Problem> {
        let refused = self.any(&["Permission denied (", "Too many authentication failures"])?;
        if let Some(problem) = self.key_file() {
            return Some(problem);
        }
        let methods = between(refused, "(", ")");
        let sentence = match methods {
            Some(methods) => {
                format!("`{}` refused every way to log in; it offers `{methods}`", self.destination)
            }
            None => format!("`{}` refused: too many attempts to log in", self.destination),
        };
        let hint = match methods {
            Some(methods) if !contains(methods, "publickey") => {
                "the server takes no keys here: set `password`, or ask its owner"
            }
            Some(_) => {
                "check `user` and `key_file`, and whether your public key is in the server's \
                 authorized_keys"
            }
            None => "set `key_file`, so that only that key is offered",
        };
        Some(Problem::new(Code::SshAuthRefused, sentence, hint))
    }

    fn key_file(&self) -> Option<Problem> {
        let make = |file: &str, what: &str, hint: String| {
            Problem::new(Code::SshKeyFile, format!("the key file `{file}` {what}"), hint)
        };
        if let Some(line) = self.find(" are too open") {
            let file = between(line, "'", "'").unwrap_or("?");
            let hint = format!("make it private: `chmod 600 {file}`");
            return Some(make(file, "can be read by others, so `ssh` does not use it", hint));
        }
        // "no such identity" is printed above VERBOSE only for files that were named.
        if let Some(line) = self.find("no such identity: ") {
            let file = line.split("no such identity: ").nth(1)?.split(": ").next()?;
            let hint = "check `key_file`".to_owned();
            return Some(make(file, "does not exist", hint));
        }
        if let Some(line) =
            self.any(&["Identity file "]).filter(|line| contains(line, "not accessible"))
        {
            let file = line.strip_prefix("Warning: ").unwrap_or(line);
            let file = file.strip_prefix("Identity file ")?.split(" not accessible").next()?;
            return Some(make(file, "cannot be read", "check `key_file`".to_owned()));
        }
        let line = self.find("Load key ")?;
        let file = between(line, "\"", "\"").unwrap_or("?");
        let why = after_last_colon(line);
        let hint = if contains(why, "passphrase") {
            format!("unlock it in your agent: `ssh-add {file}`")
        } else {
            "check `key_file`: it has to be a private key that you may read".to_owned()
        };
        Some(make(file, &format!("cannot be used: {}", lower_first(why)), hint))
    }

    fn end(&self) -> Option<Problem> {
        if self.find("not responding").filter(|line| contains(line, "Timeout, server")).is_some() {
            return Some(frozen(self.destination));
        }
        let line = self.any(&[
            "Connection closed by",
            "Connection reset by",
            "closed by remote host",
            "send disconnect",
            "Broken pipe",
            "Received disconnect",
            "Disconnected from",
        ])?;
        Some(super::lost(format!(
            "the connection to `{}` ended: {}",
            self.destination,
            lower_first(line.trim_end_matches('.'))
        )))
    }

    fn other(&self) -> Problem {
        let said = self.lines.iter().rev().find(|line| is_note(line));
        let sentence = match said {
            Some(line) => format!("`ssh {}` failed: {line}", self.destination),
            None => format!("`ssh {}` ended without a word", self.destination),
        };
        let hint = format!("try `ssh -v {}` in a terminal", self.destination);
        Problem::new(Code::SshFailed, sentence.trim_end_matches('.'), hint)
    }

    /// File and line of the key that no longer fits.
    fn offending(&self) -> Option<&str> {
        let line = self.find("Offending ")?;
        line.split_once(" key in ").map(|(_, place)| place)
    }
}

fn contains(line: &str, part: &str) -> bool {
    line.contains(part)
}

fn between<'a>(line: &'a str, open: &str, close: &str) -> Option<&'a str> {
    line.split_once(open)?.1.split_once(close).map(|(inside, _)| inside)
}

fn after_last_colon(line: &str) -> &str {
    line.rsplit(": ").next().unwrap_or(line).trim_end_matches('.')
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if chars.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "classify/tests.rs"]
mod tests;
