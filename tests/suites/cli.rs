//! The command and its headless host, as the real binary: exit codes, JSON, signals,
//! the control socket, traffic, and what is left after a crash.
#![cfg(unix)]

#[path = "cli/absent.rs"]
mod absent;
#[path = "cli/asked.rs"]
mod asked;
#[path = "cli/cluster.rs"]
mod cluster;
#[path = "cli/drain.rs"]
mod drain;
#[path = "cli/history.rs"]
mod history;
#[path = "cli/life.rs"]
mod life;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/socket.rs"]
mod socket;
#[path = "cli/traffic.rs"]
mod traffic;
#[path = "cli/verify.rs"]
mod verify;

use serde_json::Value;
use std::collections::BTreeSet;

/// The keys of an object.
fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect()
}

/// `names` as a set of keys.
fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
