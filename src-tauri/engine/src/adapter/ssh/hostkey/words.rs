//! Owns what `ssh -v` and `ssh -G` print about host keys. Pure.

use localport_core::problem::{Code, Problem};

/// A host key that could not be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Host and port as `ssh` names them.
    pub(super) place: String,
    /// Type of the key, such as `ssh-ed25519`.
    pub(super) kind: String,
    /// `SHA256:…`.
    pub(super) fingerprint: String,
}

/// The key that verification failed for, in what `ssh -v` printed. A jump host's process
/// prints to the same place, and it fails first: the last key before the failure is the
/// one.
pub(super) fn finding(stderr: &str) -> Option<Finding> {
    let mut place = None;
    let mut key = None;
    for line in stderr.lines().map(|line| line.trim()) {
        if let Some(rest) = line.strip_prefix("debug1: Authenticating to ") {
            place = rest.split(" as ").next().map(str::to_owned);
        } else if let Some(rest) = line.strip_prefix("debug1: Server host key: ") {
            key = rest.split_once(' ');
        } else if line.starts_with("Host key verification failed") {
            let (kind, fingerprint) = key?;
            let fingerprint = fingerprint.split_whitespace().next()?.to_owned();
            return Some(Finding { place: place?, kind: kind.to_owned(), fingerprint });
        }
    }
    None
}

pub(super) fn unknown_key(destination: &str, finding: &Finding) -> Problem {
    let Finding { place, kind, fingerprint } = finding;
    let whose = if destination.contains(place.as_str()) || place.starts_with(destination) {
        format!("`{destination}`")
    } else {
        format!("`{place}`, on the way to `{destination}`,")
    };
    Problem::new(
        Code::SshHostKeyUnknown,
        format!("the host key of {whose} is not known yet: {kind} `{fingerprint}`"),
        "compare the fingerprint with the host's owner, then trust it: `localport ssh trust` \
         and the forward's name, or the button in the window",
    )
}

/// File and line of the key that no longer fits.
pub(super) fn offending(line: &str) -> Option<(&str, usize)> {
    let place = line.strip_prefix("Offending ")?.split_once(" key in ")?.1;
    let (file, number) = place.rsplit_once(':')?;
    Some((file, number.trim().parse().ok()?))
}

/// A value that `ssh -G` printed; none where it is `none`.
pub(in super::super) fn setting<'a>(settings: &'a str, name: &str) -> Option<&'a str> {
    settings
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map(str::trim)
        .filter(|value| !value.is_empty() && *value != "none")
}

/// Host and port, as `ssh -v` names them when it authenticates.
pub(super) fn place(settings: &str) -> Option<String> {
    Some(format!("{}:{}", setting(settings, "hostname")?, setting(settings, "port")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenSSH 9.2 prints it, through a jump host that is known.
    const THROUGH_A_JUMP: &str = "\
debug1: Executing proxy command: exec ssh -l root -v -W '[10.0.0.2]:22' jump
debug1: Authenticating to 10.0.0.1:22 as 'root'
debug1: Server host key: ssh-ed25519 SHA256:jump
debug1: Host '10.0.0.1' is known and matches the ED25519 host key.
debug1: Authenticating to 10.0.0.2:22 as 'me'
debug1: Server host key: ecdsa-sha2-nistp256 SHA256:last
No ECDSA host key is known for 10.0.0.2 and you have requested strict checking.\r
Host key verification failed.\r
";

    #[test]
    fn the_last_key_before_the_failure_is_the_one() {
        let found = finding(THROUGH_A_JUMP).unwrap();
        assert_eq!(found.place, "10.0.0.2:22");
        assert_eq!(found.kind, "ecdsa-sha2-nistp256");
        assert_eq!(found.fingerprint, "SHA256:last");
        assert_eq!(finding("debug1: Authenticating to h:22 as 'x'\nPermission denied"), None);
        assert_eq!(finding("Host key verification failed."), None);
    }

    #[test]
    fn the_place_of_a_changed_key_is_read() {
        let line = "Offending ED25519 key in /home/me/.ssh/known_hosts:3";
        assert_eq!(offending(line), Some(("/home/me/.ssh/known_hosts", 3)));
        assert_eq!(offending("Offending key for IP in"), None);
    }

    #[test]
    fn settings_are_found_by_whole_name() {
        let settings = "host x\nhostname 10.0.0.1\nport 2222\nproxyjump none\n";
        assert_eq!(place(settings), Some("10.0.0.1:2222".into()));
        assert_eq!(setting(settings, "proxyjump"), None);
    }
}
