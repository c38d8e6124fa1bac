//! Owns what makes one SSH connection: its key and its command line. Pure.

use localport_core::config::{Secret, SshHost, SshTarget};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Seconds until `ssh` gives up connecting and reading the banner.
const CONNECT_TIMEOUT_S: u32 = 10;

/// Everything that decides which connection a target needs; targets with equal
/// destinations share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) host: String,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) password: Option<Secret>,
}

/// How the engine's end of a connection is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An OpenSSH master's control socket; Unix only.
    Mux,
    /// SOCKS5 to `ssh -D` on a loopback port, where OpenSSH has no control socket.
    Socks,
}

impl Way {
    /// What this platform's OpenSSH can do.
    #[must_use]
    pub fn of_platform() -> Self {
        if cfg!(unix) { Way::Mux } else { Way::Socks }
    }
}

/// Where the connection is to be met.
pub(super) enum Meeting<'a> {
    Control(&'a Path),
    Port(u16),
}

impl Destination {
    pub(super) fn of(target: &SshTarget) -> Self {
        Self {
            host: target.host.clone(),
            user: target.user.clone(),
            port: target.port,
            key_file: target.key_file.clone(),
            // A variable that is not set leaves an empty one.
            password: target.password.clone().filter(|it| !it.expose().is_empty()),
        }
    }

    /// That of a host on the way to something else.
    pub(super) fn of_host(host: &SshHost) -> Self {
        let SshHost { host, user, port, key_file, password } = host.clone();
        let password = password.filter(|it| !it.expose().is_empty());
        Self { host, user, port, key_file, password }
    }

    /// As people write it: `user@host:port`, without what is not given.
    pub(super) fn words(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{user}{}{port}", self.host)
    }

    /// Arguments for the one process that carries every forward to this destination.
    pub(super) fn master_args(&self, extra: &[OsString], meeting: &Meeting<'_>) -> Vec<OsString> {
        let mut args = extra.to_vec();
        match meeting {
            Meeting::Control(path) => {
                args.extend(["-M", "-N", "-T", "-S"].map(OsString::from));
                args.push(escape_percent(path));
                push_options(&mut args, &["ControlPersist=no"]);
            }
            Meeting::Port(port) => {
                args.extend(["-N", "-T", "-D"].map(OsString::from));
                args.push(format!("127.0.0.1:{port}").into());
                // An inherited ControlMaster line breaks ssh where there is no mux.
                push_options(&mut args, &["ControlMaster=no", "ControlPath=none"]);
            }
        }
        push_options(
            &mut args,
            &[
                // Says who authenticated and why channels fail, and no more.
                "LogLevel=VERBOSE",
                "ServerAliveInterval=5",
                "ServerAliveCountMax=2",
                "TCPKeepAlive=no",
                "ExitOnForwardFailure=yes",
                "PermitLocalCommand=no",
                "RemoteCommand=none",
                "ForwardAgent=no",
                "ForwardX11=no",
                "StreamLocalBindUnlink=yes",
                "StreamLocalBindMask=0177",
            ],
        );
        if matches!(meeting, Meeting::Control(_)) {
            // Forwards of the person's own ssh_config are not ours to open, and a
            // second process that binds their ports would fail. This would clear -D too.
            push_options(&mut args, &["ClearAllForwardings=yes"]);
        }
        self.push_auth(&mut args);
        self.push_place(&mut args);
        args
    }

    /// Arguments for a question about the destination: `options` first, so that they win.
    pub(super) fn plain_args(&self, extra: &[OsString], options: &[&str]) -> Vec<OsString> {
        let mut args = Self::options(options);
        args.extend(extra.iter().cloned());
        args.extend(self.place_args());
        args
    }

    /// Options of a connection that shares nothing.
    pub(super) fn options(options: &[&str]) -> Vec<OsString> {
        let mut args = Vec::new();
        push_options(&mut args, &["ControlMaster=no", "ControlPath=none"]);
        push_options(&mut args, options);
        args
    }

    /// Arguments that name the destination.
    pub(super) fn place_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        self.push_place(&mut args);
        args
    }

    fn push_auth(&self, args: &mut Vec<OsString>) {
        push_options(args, &[&format!("ConnectTimeout={CONNECT_TIMEOUT_S}")]);
        if self.password.is_some() {
            // The password is asked for once, through SSH_ASKPASS. Keys come last: an
            // agent full of them would use up the server's attempts.
            push_options(
                args,
                &[
                    "NumberOfPasswordPrompts=1",
                    "PreferredAuthentications=password,keyboard-interactive,publickey",
                ],
            );
        } else {
            push_options(args, &["BatchMode=yes"]);
        }
        if let Some(key) = &self.key_file {
            args.push("-i".into());
            args.push(key.into());
            push_options(args, &["IdentitiesOnly=yes"]);
        }
    }

    fn push_place(&self, args: &mut Vec<OsString>) {
        if let Some(user) = &self.user {
            args.extend(["-l".into(), OsString::from(user)]);
        }
        if let Some(port) = self.port {
            args.extend(["-p".into(), OsString::from(port.to_string())]);
        }
        // A host that starts with a dash is a host, not an option.
        args.extend(["--".into(), OsString::from(&self.host)]);
    }
}

fn push_options(args: &mut Vec<OsString>, options: &[&str]) {
    for option in options {
        args.extend(["-o".into(), OsString::from(option)]);
    }
}

/// `ssh` expands `%` in the control path.
fn escape_percent(path: &Path) -> OsString {
    match path.to_str() {
        Some(text) => text.replace('%', "%%").into(),
        None => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination {
            host: "-oProxyCommand=evil".into(),
            user: Some("me".into()),
            port: Some(2222),
            key_file: Some("/keys/id".into()),
            password: None,
        }
    }

    fn text(args: &[OsString]) -> String {
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn a_host_is_never_an_option() {
        let args = text(&destination().master_args(&[], &Meeting::Port(1080)));
        assert!(args.ends_with("-l me -p 2222 -- -oProxyCommand=evil"), "{args}");
        assert!(args.contains("-i /keys/id -o IdentitiesOnly=yes"), "{args}");
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let mut destination = destination();
        destination.password = Some(Secret::new("hunter2".into()));
        let args = text(&destination.master_args(&[], &Meeting::Control(Path::new("/r/%h/m"))));
        assert!(!args.contains("hunter2"), "{args}");
        assert!(!args.contains("BatchMode"), "{args}");
        assert!(args.contains("-S /r/%%h/m"), "{args}");
    }

    #[test]
    fn the_socks_way_keeps_its_own_forward() {
        let args = text(&destination().master_args(&[], &Meeting::Port(1080)));
        assert!(args.contains("-D 127.0.0.1:1080"), "{args}");
        assert!(!args.contains("ClearAllForwardings"), "{args}");
        assert!(args.contains("ControlPath=none"), "{args}");
    }
}
