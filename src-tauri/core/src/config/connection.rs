//! Owns `connection` and `remote_port`: where a service leads, for each technology.

mod kube;
mod ssh;

pub(super) use ssh::{check_key_file, via};

use super::Target;
use super::cx::Cx;
use super::fields::Fields;
use super::service::Technology;
use super::tree::Place;

const REMOTE_PORT_HINT: &str = "Add `remote_port:` with the port of the target";

/// Reads where a service leads, and where its key file is named.
pub(super) fn read(
    cx: &mut Cx<'_>,
    service: &mut Fields,
    technology: Technology,
) -> Option<(Target, Option<Place>)> {
    match technology {
        Technology::Kubectl => kube::read(cx, service).map(|target| (Target::Kube(target), None)),
        Technology::Ssh => {
            ssh::read(cx, service).map(|(target, place)| (Target::Ssh(target), place))
        }
    }
}

/// Takes the keys of a service whose technology is not known, so that what is
/// missing is said at once and nothing that is there looks unknown.
pub(super) fn read_unknown(cx: &mut Cx<'_>, service: &mut Fields) {
    let port = service.value(cx, "remote_port");
    service.require(cx, "remote_port", port, REMOTE_PORT_HINT);
    let connection = service.value(cx, "connection");
    let hint = "Add `connection:` with what the technology needs";
    service.require(cx, "connection", connection, hint);
}

/// The `connection` map, with a complaint when it is absent.
fn connection(cx: &mut Cx<'_>, service: &mut Fields, example: &str) -> Option<Fields> {
    let read = service.value(cx, "connection");
    let hint = format!("Add {example}");
    let (value, place) = service.require(cx, "connection", read, &hint)?;
    match value {
        super::fields::Value::Map(node) => Fields::open(cx, "`connection`", &node),
        other => {
            super::values::wrong(cx, place, "connection", "a map of keys and values", other.kind())
        }
    }
}
