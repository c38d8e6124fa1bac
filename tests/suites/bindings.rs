//! Keeps the window's types and words the same as the engine's (row D3).
//!
//! Writes `ui/src/generated/` when `LOCALPORT_WRITE_BINDINGS=1`, else fails when the
//! files there are stale.

use localport_core::bridge::{Declined, Update};
use localport_core::command::{Command, Done};
use localport_core::diagnosis::Diagnosis;
use localport_core::event::Event;
use localport_core::history::Shutdown;
use localport_core::snapshot::{
    Bytes, Connections, Forward, ForwardState, ListenerFact, ListenerState, Standing, TargetFact,
    TargetState, Technology, TunnelFact, TunnelState,
};
use localport_core::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use ts_rs::{Config, TS, TypeVisitor};

const STALE: &str = "is stale; write it again with \
    LOCALPORT_WRITE_BINDINGS=1 cargo test -p localport-tests --test bindings";

fn generated(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ui/src/generated").join(name)
}

fn keep(name: &str, text: &str) {
    let path = generated(name);
    if std::env::var_os("LOCALPORT_WRITE_BINDINGS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(kept == text, "ui/src/generated/{name} {STALE}");
}

/// Every type reachable from those that cross the bridge, by name.
struct Declarations {
    config: Config,
    found: BTreeMap<String, String>,
}

impl TypeVisitor for Declarations {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        // Only declared types have a file of their own; the rest is built in.
        if T::output_path().is_none() {
            return;
        }
        let name = T::ident(&self.config);
        if self.found.contains_key(&name) {
            return;
        }
        let docs = T::docs().unwrap_or_default();
        let declaration = format!("{docs}export {}\n", T::decl(&self.config));
        self.found.insert(name, declaration);
        T::visit_dependencies(self);
    }
}

#[test]
fn the_windows_types_are_the_engines() {
    let mut all = Declarations { config: Config::new(), found: BTreeMap::new() };
    all.visit::<Update>();
    all.visit::<Declined>();
    all.visit::<Command>();
    all.visit::<Done>();
    all.visit::<Diagnosis>();
    all.visit::<Event>();
    all.visit::<Shutdown>();
    for expected in ["Snapshot", "Forward", "Refusal", "Problem", "Code", "Diagnostic"] {
        assert!(all.found.contains_key(expected), "{expected} is not reached");
    }
    let mut text =
        String::from("// Written from the Rust types by tests/suites/bindings.rs. Do not edit.\n");
    for declaration in all.found.values() {
        text.push('\n');
        for line in declaration.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    keep("bindings.ts", &text);
}

const NOW: Timestamp = Timestamp(1_000_000);

/// What the word of a forward depends on.
#[derive(Clone, Copy)]
struct Facts {
    state: ForwardState,
    listener: ListenerState,
    tunnel: TunnelState,
    target: TargetState,
    fresh_until: Option<u64>,
}

impl Facts {
    fn forward(self) -> Forward {
        Forward {
            name: "case".to_owned(),
            technology: Technology::Ssh,
            context: String::new(),
            tags: Vec::new(),
            description: None,
            wanted: true,
            drain: None,
            state: self.state,
            since: NOW,
            local: String::new(),
            target: String::new(),
            listener: ListenerFact { state: self.listener, addresses: Vec::new() },
            tunnel: TunnelFact {
                state: self.tunnel,
                path: None,
                endpoint: None,
                rtt_ms: None,
                measured: None,
                retry_at: None,
            },
            target_health: TargetFact {
                state: self.target,
                fresh_until: self.fresh_until.map(Timestamp),
                ..TargetFact::default()
            },
            connections: Connections::default(),
            bytes: Bytes::default(),
            problem: None,
            because: None,
        }
    }
}

fn every_case() -> Vec<Facts> {
    let mut cases = Vec::new();
    for state in [
        ForwardState::Stopped,
        ForwardState::Starting,
        ForwardState::Running,
        ForwardState::Degraded,
        ForwardState::BackingOff,
        ForwardState::Stopping,
        ForwardState::Failed,
    ] {
        for listener in [ListenerState::Closed, ListenerState::Listening, ListenerState::Conflict] {
            for (tunnel, target) in [
                (TunnelState::Off, TargetState::Unknown),
                (TunnelState::Connecting, TargetState::Healthy),
                (TunnelState::Up, TargetState::Unknown),
                (TunnelState::Up, TargetState::Healthy),
                (TunnelState::Up, TargetState::Failing),
                (TunnelState::Down, TargetState::Healthy),
            ] {
                for fresh_until in [None, Some(NOW.0 - 1), Some(NOW.0), Some(NOW.0 + 1)] {
                    cases.push(Facts { state, listener, tunnel, target, fresh_until });
                }
            }
        }
    }
    cases
}

/// The window says the same words as tray and command line, also when a proof grows
/// stale between two snapshots (G3).
#[test]
fn the_windows_words_are_the_engines() {
    let mut text = format!("{{\n\"now\": {},\n\"cases\": [\n", NOW.0);
    let cases = every_case();
    for (index, facts) in cases.iter().enumerate() {
        let forward = facts.forward();
        let standing = match forward.standing(NOW) {
            Standing::Broken => "broken",
            Standing::Waiting => "waiting",
            Standing::Unproved => "unproved",
            Standing::Serving => "serving",
            Standing::Off => "off",
        };
        let line = serde_json::json!([
            facts.state,
            facts.listener,
            facts.tunnel,
            facts.target,
            facts.fresh_until,
            standing,
            forward.word(NOW),
        ]);
        let comma = if index + 1 == cases.len() { "" } else { "," };
        writeln!(text, "{line}{comma}").unwrap();
    }
    text.push_str("]\n}\n");
    assert!(text.contains("serving") && text.contains("unproved"));
    keep("words.json", &text);
}
