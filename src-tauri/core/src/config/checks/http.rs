//! Owns what only an HTTP check has: URL, status codes, headers.

use super::super::cx::{Cx, shown};
use super::super::fields::{Fields, Read, Value, value};
use super::super::scalars::integer;
use super::super::tree::Place;
use super::super::values::wrong;
use super::super::{Rule, Secret};
use super::probe::Elsewhere;
use std::collections::BTreeMap;

const STATUS_HINT: &str =
    "Write a code such as `200`, a range such as `200-299`, or a list of them";

/// Host and port of a URL that can be requested.
pub(super) fn check_url(cx: &mut Cx<'_>, url: &str, place: Place) -> Option<Elsewhere> {
    let scheme = ["http", "https"].into_iter().find(|scheme| {
        let start = url.get(..scheme.len() + 3);
        start.is_some_and(|start| start.eq_ignore_ascii_case(&format!("{scheme}://")))
    });
    let elsewhere = scheme
        .filter(|_| !url.contains(|c: char| c.is_whitespace() || c.is_control()))
        .and_then(|scheme| {
            let rest = &url[scheme.len() + 3..];
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let (host, port) = host_and_port(authority.rsplit('@').next().unwrap_or_default())?;
            // Without a port the URL means the forward's own.
            Some(Elsewhere { key: "url", host: Some(host), port, place })
        });
    if elsewhere.is_none() {
        let message = format!("`{}` is not a URL that can be requested", shown(&covered(url)));
        cx.report(Rule::BadUrl, place, message, "Write one such as `http://localhost:8080/health`");
    }
    elsewhere
}

fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port =
        if port.is_empty() { None } else { Some(port.parse().ok().filter(|port| *port > 0)?) };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// The URL with login and password covered.
pub(in super::super) fn without_login(url: &str) -> String {
    let start = url.find("//").map_or(0, |at| at + 2);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    match url[start..end].rfind('@') {
        Some(at) => format!("{}<redacted>{}", &url[..start], &url[start + at..]),
        None => url.to_owned(),
    }
}

/// A URL that cannot be read, with everything covered in which a password could
/// be: where its login ends is not certain, so the last `@` counts.
fn covered(url: &str) -> String {
    let start = url.find("//").map_or(0, |at| at + 2);
    let shown = url.split('?').next().unwrap_or_default();
    match shown.rfind('@').filter(|at| *at >= start) {
        Some(at) => format!("{}<redacted>{}", &shown[..start], &shown[at..]),
        None => shown.to_owned(),
    }
}

/// Codes of `expected_status_codes`, or of `expected_status`, which means the same.
pub(super) fn expected_status(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<Vec<u16>> {
    let documented = codes(cx, fields, "expected_status");
    let effective = codes(cx, fields, "expected_status_codes");
    if let (Read::Is(..), Read::Is(..)) = (&documented, &effective) {
        let message = "`expected_status` has no effect beside `expected_status_codes`";
        let place = fields.key_place("expected_status");
        cx.report(Rule::IgnoredKey, place, message, "Keep one of the two");
    }
    effective.ok().or(documented.ok())
}

fn codes(cx: &mut Cx<'_>, fields: &mut Fields, key: &'static str) -> Read<Vec<u16>> {
    let read = fields.value(cx, key).then(|found, place| match found {
        Value::Text(text) => spans(cx, key, &text.text, place),
        Value::List(items) => {
            let each = items.iter().map(|item| match value(cx, item)? {
                Value::Text(text) => spans(cx, key, &text.text, item.place),
                other => wrong(cx, item.place, key, "a list of status codes", other.kind()),
            });
            let each: Vec<Option<Vec<u16>>> = each.collect();
            each.into_iter().collect::<Option<Vec<_>>>().map(|codes| codes.concat())
        }
        other => wrong(cx, place, key, "a status code or a list of them", other.kind()),
    });
    read.then(|mut codes, place| {
        codes.sort_unstable();
        codes.dedup();
        if codes.is_empty() {
            let message = format!("`{key}` is empty, so no answer would count as healthy");
            cx.report(Rule::WrongType, place, message, STATUS_HINT);
        }
        Some(codes).filter(|codes| !codes.is_empty())
    })
}

/// Codes of a text such as `200`, `200-299`, `2xx` or `200,301-302`.
fn spans(cx: &mut Cx<'_>, key: &str, text: &str, place: Place) -> Option<Vec<u16>> {
    let mut codes = Vec::new();
    for part in text.split(',').map(str::trim) {
        let range = span(part).filter(|(first, last)| first <= last);
        let Some((first, last)) = range else {
            let message = format!("`{}` in `{key}` is not a status code", shown(part));
            cx.report(Rule::WrongType, place, message, STATUS_HINT);
            return None;
        };
        if !(100..=599).contains(&first) || last > 599 {
            let message = format!("`{}` in `{key}` is out of range", shown(part));
            cx.report(Rule::OutOfRange, place, message, "Give status codes from 100 to 599");
            return None;
        }
        codes.extend((first..=last).filter_map(|code| u16::try_from(code).ok()));
    }
    Some(codes)
}

fn span(part: &str) -> Option<(i64, i64)> {
    if let Some(class) = part.strip_suffix("xx").or_else(|| part.strip_suffix("XX")) {
        let class = integer(class).filter(|class| (0..=9).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    match part.split_once('-') {
        Some((first, last)) if !first.is_empty() => Some((integer(first)?, integer(last)?)),
        _ => integer(part).map(|code| (code, code)),
    }
}

/// Request headers. Their values are secrets and never stand in a message.
pub(super) fn headers(cx: &mut Cx<'_>, fields: &mut Fields) -> Option<BTreeMap<String, Secret>> {
    let mut map = fields.map(cx, "headers")?;
    let mut headers = BTreeMap::new();
    for (name, place, node) in map.rest() {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            let message = format!("`{}` is not the name of a header", shown(&name));
            cx.report(Rule::BadHeader, place, message, "Use letters, digits and `-`");
            continue;
        }
        let text = match value(cx, &node) {
            Some(Value::Text(text)) => text.text,
            Some(other) => {
                let found = other.kind();
                let _: Option<()> =
                    wrong(cx, node.place, "headers", "a map of single values", found);
                continue;
            }
            None => continue,
        };
        if text.contains(|c: char| c.is_control() && c != '\t') {
            let message =
                format!("The header `{}` holds a line break or a control character", shown(&name));
            cx.report(Rule::BadHeader, node.place, message, "Give it a value of one line");
            continue;
        }
        headers.insert(name, Secret::new(text));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_in_urls_are_covered() {
        let cases = [
            ("http://h/x", "http://h/x", "http://h/x"),
            ("http://u:p@h/@x", "http://<redacted>@h/@x", "http://<redacted>@x"),
            ("http://u:p/q@h/", "http://u:p/q@h/", "http://<redacted>@h/"),
            ("u:p@h?token=t", "<redacted>@h?token=t", "<redacted>@h"),
            ("?a//", "?a//", ""),
        ];
        for (url, login, all) in cases {
            assert_eq!(without_login(url), login, "{url}");
            assert_eq!(covered(url), all, "{url}");
        }
    }

    #[test]
    fn hosts_and_ports_of_urls_are_found() {
        let host = |host: &str, port| Some((host.to_owned(), port));
        let cases = [
            ("h", host("h", None)),
            ("h:80", host("h", Some(80))),
            ("[::1]:80", host("::1", Some(80))),
            ("[::1]", host("::1", None)),
            ("h:0", None),
            ("h:x", None),
            (":80", None),
            ("[::1", None),
            ("[x]", None),
            ("[::1]x", None),
        ];
        for (authority, expected) in cases {
            assert_eq!(host_and_port(authority), expected, "{authority}");
        }
    }
}
