//! Owns what services may not share: names, and local ports on the same addresses.

use super::Rule;
use super::cx::{Cx, shown};
use super::load::Entry;
use super::tree::Place;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a service claims for itself, as far as it could be read.
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) name: Option<(String, Place)>,
    pub(super) port: Option<(u16, Place)>,
    pub(super) bind: Vec<IpAddr>,
    pub(super) enabled: bool,
}

/// What is claimed so far: indices of entries.
#[derive(Default)]
pub(super) struct Clashes {
    names: HashMap<String, usize>,
    ports: HashMap<u16, Holders>,
}

/// Who claims a port: those that run, and those that would if they had no errors.
#[derive(Default)]
struct Holders {
    running: Vec<usize>,
    broken: Vec<usize>,
}

impl Clashes {
    /// Takes the later of two clashing services out, with a complaint that names
    /// the line of the first. Of two with the same name, the one switched off goes.
    pub(super) fn resolve(cx: &mut Cx<'_>, entries: &mut [Entry]) {
        let mut clashes = Self::default();
        let (on, off): (Vec<usize>, Vec<usize>) =
            (0..entries.len()).partition(|index| entries[*index].claim.enabled);
        for index in on.into_iter().chain(off) {
            let mark = cx.mark();
            let name_free = clashes.name(cx, entries, index);
            let free = name_free && clashes.port(cx, entries, index);
            if !entries[index].claim.enabled {
                cx.soften(mark);
            }
            if !free {
                entries[index].spec = None;
            }
        }
    }

    fn name(&mut self, cx: &mut Cx<'_>, entries: &[Entry], index: usize) -> bool {
        let Some((name, place)) = &entries[index].claim.name else { return true };
        let Some(&first) = self.names.get(name) else {
            self.names.insert(name.clone(), index);
            return true;
        };
        let where_first =
            where_is(cx, entries[first].claim.name.as_ref().map(|(_, place)| *place), *place);
        let hint = "Give one of the two another name";
        if entries[first].spec.is_some() {
            let message =
                format!("The name `{}` is taken by the service in {where_first}", shown(name));
            cx.report(Rule::DuplicateName, *place, message, hint);
            return false;
        }
        let message = format!(
            "The name `{}` is also that of the service in {where_first}, which does not run",
            shown(name)
        );
        cx.report(Rule::SharedName, *place, message, hint);
        if entries[index].spec.is_some() {
            self.names.insert(name.clone(), index);
        }
        true
    }

    fn port(&mut self, cx: &mut Cx<'_>, entries: &[Entry], index: usize) -> bool {
        let claim = &entries[index].claim;
        let Some((port, place)) = claim.port.filter(|_| claim.enabled) else { return true };
        let overlapping = |holders: &[usize]| {
            holders.iter().find(|held| overlap(&entries[**held].claim.bind, &claim.bind)).copied()
        };
        let holders = self.ports.entry(port).or_default();
        let (running, broken) = (overlapping(&holders.running), overlapping(&holders.broken));
        // One of those that overlap stands for all of them.
        match (entries[index].spec.is_some(), running, broken) {
            (true, None, _) => holders.running.push(index),
            (false, _, None) => holders.broken.push(index),
            _ => {}
        }
        if let Some(first) = running.or(broken) {
            let first = &entries[first].claim;
            report_port(cx, port, place, first, running.is_some());
        }
        running.is_none()
    }
}

fn report_port(cx: &mut Cx<'_>, port: u16, place: Place, first: &Claim, first_runs: bool) {
    let named = first.name.as_ref().map_or("another service", |(name, _)| name);
    let named =
        format!("`{}` in {}", shown(named), where_is(cx, first.port.map(|(_, at)| at), place));
    let hint = "Give one of the two another `local_port`, or bind them to different addresses";
    if first_runs {
        let message = format!("The local port `{port}` is taken by {named}");
        cx.report(Rule::DuplicatePort, place, message, hint);
    } else {
        let message =
            format!("The local port `{port}` is also that of {named}, which does not run");
        cx.report(Rule::SharedPort, place, message, hint);
    }
}

/// The first place as a sentence names it: with the file only when it is another one.
fn where_is(cx: &Cx<'_>, first: Option<Place>, here: Place) -> String {
    let Some(first) = first else { return "an earlier line".to_owned() };
    match cx.sources.get(first.source) {
        Some(source) if first.source != here.source => {
            format!("line {} of `{}`", first.line, shown(&source.file.display().to_string()))
        }
        _ => format!("line {}", first.line),
    }
}

/// Whether two sets of addresses have one in common. None means loopback, of both families.
fn overlap(a: &[IpAddr], b: &[IpAddr]) -> bool {
    const LOOPBACK: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let (a, b) = (if a.is_empty() { LOOPBACK } else { a }, if b.is_empty() { LOOPBACK } else { b });
    let same = |a: &IpAddr, b: &IpAddr| {
        a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
    };
    a.iter().any(|a| b.iter().any(|b| same(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_as_sockets_do() {
        let set = |addresses: &[&str]| -> Vec<IpAddr> {
            addresses.iter().map(|address| address.parse().expect("an address")).collect()
        };
        let cases: &[(&[&str], &[&str], bool)] = &[
            (&[], &[], true),
            (&[], &["127.0.0.1"], true),
            (&[], &["::1"], true),
            (&[], &["127.0.0.2"], false),
            (&[], &["0.0.0.0"], true),
            (&["127.0.0.1"], &["::"], false),
            (&["10.0.0.1", "::1"], &["10.0.0.2", "::"], true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(overlap(&set(a), &set(b)), *expected, "{a:?} {b:?}");
            assert_eq!(overlap(&set(b), &set(a)), *expected, "{b:?} {a:?}");
        }
    }
}
