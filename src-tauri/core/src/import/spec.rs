//! Owns what the formats share: ports, addresses and names.

use crate::config::{DEFAULT_HOLD, ForwardSpec, Target};
use std::net::IpAddr;

/// A forward with nothing but what is given.
pub(super) fn forward(name: &str, local_port: u16, target: Target) -> ForwardSpec {
    ForwardSpec {
        name: clean(name),
        enabled: true,
        tags: vec![],
        description: None,
        local_port,
        bind: vec![],
        hold: DEFAULT_HOLD,
        target,
        health_check: None,
        restart_policy: None,
    }
}

/// A port from 1 to 65535.
pub(super) fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// The addresses that a local end is bound on; none of the loopback is worth a word, since
/// it is what holds anyway.
pub(super) fn addresses(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part {
            "localhost" => {}
            "*" => found.extend([IpAddr::from([0; 4]), IpAddr::from([0; 16])]),
            other => match other.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) if address.is_loopback() && is_usual(address) => {}
                Ok(address) => found.push(address),
                Err(_) => return Err(other.to_owned()),
            },
        }
    }
    Ok(found)
}

fn is_usual(address: IpAddr) -> bool {
    address == IpAddr::from([127, 0, 0, 1]) || address.is_ipv6()
}

/// A name as the configuration takes it.
fn clean(name: &str) -> String {
    let kept = |c: char| if c.is_whitespace() || c.is_control() { '-' } else { c };
    let name: String = name.chars().map(kept).take(100).collect();
    if name.is_empty() { "forward".to_owned() } else { name }
}
