//! Owns what a start does about the life before: reads the journal, ends and removes what
//! was left, and says in one sentence what it found.

use crate::engine::Memory;
use crate::home::Home;
use crate::journal::{Journal, Medium};
use crate::logs::clock;
use crate::process;
use crate::registry::Registry;
use localport_core::config::Config;
use localport_core::journal::{Entry, Found, Past, Switches};

/// Finishes the work of the last host, before anything is started. `lock_was_left` says
/// whether that host did not give its lock back.
pub(super) async fn recover(
    home: &Home,
    medium: Box<dyn Medium>,
    registry: &Registry,
    config: &Config,
    lock_was_left: bool,
) -> Memory {
    let (journal, mut past) = Journal::open(medium, registry, clock::now());
    if !lock_was_left && !past.has_ended() {
        // It came to its own end and could not write that down.
        past.apply(Entry::HostEnded { clean: false });
    }
    let strays = process::sweep(home, &past, &journal).await;
    for stray in &strays {
        let how = if stray.forced { "killed" } else { "ended" };
        let program = stray.program.display();
        tracing::info!("{how} `{program}`, process `{}`, left by a host that crashed", stray.pid);
    }
    let mut switches = past.switches.clone();
    let configured = config.forwards.iter().map(|spec| (spec.name.as_str(), spec.enabled));
    let mut forgotten = vec![];
    // A configuration that could not be read says nothing about any switch.
    if !config.forwards.is_empty() {
        forgotten = switches.settle(configured);
    }
    // Also: no child starts before the journal names this host.
    journal.ahead(forgotten).await;
    let found = past.sentence(&Found {
        rebooted: rebooted(&past, &journal),
        ended: strays.iter().map(|stray| name(&stray.program)).collect(),
        forced: strays.iter().filter(|stray| stray.forced).count(),
        ..forwards(config, &switches)
    });
    Memory { journal, switches, found }
}

fn forwards(config: &Config, switches: &Switches) -> Found {
    let on = config.forwards.iter().filter(|spec| switches.wanted(&spec.name, spec.enabled));
    let off = config
        .forwards
        .iter()
        .filter(|spec| spec.enabled && !switches.wanted(&spec.name, spec.enabled));
    Found { on: on.count(), off: off.count(), ..Found::default() }
}

/// Where a start time names the boot it belongs to (Linux), another boot tells.
fn rebooted(past: &Past, journal: &Journal) -> bool {
    let boot = |started: &Option<String>| {
        started.as_ref().and_then(|started| Some(started.split_once(':')?.0.to_owned()))
    };
    let now = boot(&journal.host().started);
    let then = past.last.as_ref().and_then(|life| boot(&life.host.process.started));
    cfg!(target_os = "linux") && now.is_some() && then.is_some() && now != then
}

fn name(program: &std::path::Path) -> String {
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
