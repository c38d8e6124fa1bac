//! Owns the connection of a service of technology ssh.

use super::super::cx::{Cx, shown};
use super::super::fields::{Fields, Read, Value};
use super::super::tree::{Node, Place};
use super::super::{FileState, Rule, Secret, SshHost, SshTarget};
use super::{REMOTE_PORT_HINT, connection};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const HABITS: &[(&str, &str)] = &[
    ("hostname", "host"),
    ("server", "host"),
    ("username", "user"),
    ("login", "user"),
    ("identity_file", "key_file"),
    ("identityfile", "key_file"),
    ("private_key", "key_file"),
    ("key", "key_file"),
    ("ssh_port", "port"),
    ("target_host", "remote_host"),
];

pub(super) fn read(cx: &mut Cx<'_>, service: &mut Fields) -> Option<(SshTarget, Option<Place>)> {
    let port = service.port(cx, "remote_port");
    let remote_port = service.require(cx, "remote_port", port, REMOTE_PORT_HINT);
    let mut fields = connection(cx, service, "`connection: {host: …}`")?;
    let host = host(cx, &mut fields);
    let key_file = key_file(cx, &mut fields);
    let remote_host = match fields.text(cx, "remote_host") {
        Read::Is(host, place) => host_name(cx, "remote_host", &host, place),
        Read::Absent => Some("localhost".to_owned()),
        Read::Wrong => None,
    };
    let why = "is not passed on; ssh_config is read instead";
    let hint = "Put `ProxyJump` and other options for this host into `~/.ssh/config`";
    fields.ignored(cx, &["jump_host", "proxy_jump", "options", "ssh_options"], why, hint);
    fields.finish(cx, HABITS);
    let SshHost { host, user, port, password, .. } = host?;
    let (key_file, key_place) = key_file.placed().unzip();
    let target = SshTarget {
        host,
        user,
        port,
        key_file,
        password,
        remote_host: remote_host?,
        remote_port: remote_port?.0,
    };
    Some((target, key_place))
}

/// The SSH host that `via` names: as text, `user@host:port`, or as a map with the keys that
/// an SSH connection has. Outer none when it is wrong.
#[allow(clippy::option_option, reason = "absent and wrong are two things")]
pub(in super::super) fn via(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<Option<SshHost>> {
    match fields.value(cx, "via") {
        Read::Absent => Some(None),
        Read::Wrong => None,
        Read::Is(Value::Text(text), place) => via_text(cx, &text.text, place).map(Some),
        Read::Is(Value::Map(node), _) => via_map(cx, &node).map(Some),
        Read::Is(other, place) => {
            let wanted = "a host such as `me@bastion:22`, or a map with `host` in it";
            super::super::values::wrong(cx, place, "via", wanted, other.kind())
        }
    }
}

fn via_text(cx: &mut Cx<'_>, text: &str, place: Place) -> Option<SshHost> {
    let text = text.trim();
    let (rest, port) = match text.rsplit_once(':') {
        // More than one colon is an IPv6 address.
        Some((rest, port)) if !rest.contains(':') || rest.ends_with(']') => {
            match port.parse::<u16>() {
                Ok(port) if port > 0 => (rest, Some(port)),
                _ => {
                    let message = format!("`{}` is not a port", shown(port));
                    let hint = "Write `via: user@host:port`, or leave the port to ssh_config";
                    cx.report(Rule::BadHost, place, message, hint);
                    return None;
                }
            }
        }
        _ => (text, None),
    };
    let (user, host) = split_host(cx, rest, place)?;
    Some(SshHost { host, user, port, key_file: None, password: None })
}

fn via_map(cx: &mut Cx<'_>, node: &Rc<Node>) -> Option<SshHost> {
    let mut fields = Fields::open(cx, "`via`", node)?;
    let (key_file, host) = (key_file(cx, &mut fields), host(cx, &mut fields));
    fields.finish(cx, HABITS);
    let (key_file, place) = key_file.placed().unzip();
    let host = SshHost { key_file, ..host? };
    if let (Some(path), Some(place)) = (&host.key_file, place) {
        check_key(cx, path, place);
    }
    Some(host)
}

/// What every SSH connection says of its host; without the key file.
fn host(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<SshHost> {
    let host = fields.text(cx, "host");
    let host = fields.require(
        cx,
        "host",
        host,
        "Add `host:`, a name, an address or an alias of ssh_config",
    );
    let host = host.and_then(|(host, place)| split_host(cx, &host, place));
    let user = fields.text(cx, "user").then(|user, place| login(cx, "user", user, place));
    let port = fields.port(cx, "port");
    let password = fields.text(cx, "password").ok().map(Secret::new);
    let (embedded, host) = host?;
    Some(SshHost { host, user: user.ok().or(embedded), port: port.ok(), key_file: None, password })
}

fn key_file(cx: &mut Cx<'_>, fields: &mut Fields) -> Read<PathBuf> {
    fields.text(cx, "key_file").then(|path, place| expand(cx, &path, place))
}

/// Complains when the key file cannot be used.
pub(in super::super) fn check_key_file(cx: &mut Cx<'_>, target: &SshTarget, place: Place) {
    if let Some(path) = &target.key_file {
        check_key(cx, path, place);
    }
}

fn check_key(cx: &mut Cx<'_>, path: &Path, place: Place) {
    let name = shown(&path.display().to_string());
    match cx.env.file(path) {
        FileState::Readable => {}
        FileState::Missing => {
            let message = format!("The key file `{name}` does not exist");
            let hint = "Correct the path, or remove `key_file` to leave the choice to ssh_config and the agent";
            cx.report(Rule::KeyFileMissing, place, message, hint);
        }
        FileState::Unreadable => {
            let message = format!("The key file `{name}` cannot be read by this user");
            let hint = "Name a private key that is a file and belongs to this user";
            cx.report(Rule::KeyFileUnreadable, place, message, hint);
        }
    }
}

/// Login and host of `host`, which may be written `user@host`.
fn split_host(cx: &mut Cx<'_>, text: &str, place: Place) -> Option<(Option<String>, String)> {
    match text.trim().rsplit_once('@') {
        Some((user, host)) => {
            let user = login(cx, "host", user.to_owned(), place)?;
            Some((Some(user), host_name(cx, "host", host, place)?))
        }
        None => Some((None, host_name(cx, "host", text.trim(), place)?)),
    }
}

/// A host name, address or alias. A leading `-` would be read as an option by ssh.
fn host_name(cx: &mut Cx<'_>, key: &str, text: &str, place: Place) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    // A zone such as `%eth0` may follow a link-local address.
    if bare.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        && !has_blank(bare)
    {
        return Some(bare.to_owned());
    }
    let hint = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && key == "host" => {
            format!("Write `host: {}` and `port: {port}`", shown(host))
        }
        Some((_, rest)) if rest.starts_with("//") => {
            "Write the name of the host alone, without `://`".to_owned()
        }
        Some((host, port)) if port.parse::<u16>().is_ok() => {
            format!("Write `{key}: {}`, and the port as `remote_port: {port}`", shown(host))
        }
        _ => format!("Give `{key}` a host name, an address or an alias of ssh_config"),
    };
    let bad = text.is_empty()
        || text.starts_with('-')
        || has_blank(text)
        || text.contains([':', '/', '@', '[', ']']);
    if bad {
        cx.report(Rule::BadHost, place, format!("`{}` is not a host name", shown(text)), hint);
        return None;
    }
    Some(text.to_owned())
}

fn login(cx: &mut Cx<'_>, key: &str, user: String, place: Place) -> Option<String> {
    if user.is_empty() || user.starts_with('-') || has_blank(&user) {
        let message = format!("`{}` is not a login name", shown(&user));
        cx.report(
            Rule::BadHost,
            place,
            message,
            format!("Give `{key}` a login name without blanks"),
        );
        return None;
    }
    Some(user)
}

fn has_blank(text: &str) -> bool {
    text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The path with `~` replaced; a relative one starts where the file stands.
fn expand(cx: &mut Cx<'_>, path: &str, place: Place) -> Option<PathBuf> {
    let tail = path.strip_prefix('~').map(|rest| rest.trim_start_matches(['/', '\\']));
    match tail {
        Some(tail) if path.len() == 1 || tail.len() < path.len() - 1 => {
            let home = cx.env.home();
            if home.is_none() {
                let message =
                    format!("`{}` needs a home directory, which this user has not", shown(path));
                cx.report(Rule::BadPath, place, message, "Write the whole path");
            }
            home.map(|home| home.join(tail))
        }
        Some(_) => {
            let message = format!("`{}` means the home directory of another user", shown(path));
            cx.report(Rule::BadPath, place, message, "Write the whole path, or begin with `~/`");
            None
        }
        None => {
            let file = cx.sources.get(place.source).map(|source| source.file.as_path());
            let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
            Some(folder.join(path))
        }
    }
}
