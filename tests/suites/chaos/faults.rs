//! A far side that fails, a machine that stands still, in each stage of an end.

use crate::far::{Far, Fault};
use crate::scene::{BUDGETS, HASTY, Scene};
use crate::seeded::{Seeded, seeds};
use crate::truth::{Cut, ends_true};
use localport_core::shutdown::{Because, Stage};
use rustix::process::Signal;
use std::thread;
use std::time::Duration;

/// Begins transfers: some that end while connections may finish, and some that do not.
fn open_transfers(scene: &mut Scene, random: &mut Seeded) {
    let forwards = scene.ports.len() as u64;
    for _ in 0..2 + random.below(4) {
        let forward = usize::try_from(random.below(forwards)).unwrap();
        let size = 1 + u32::try_from(random.below(1 << 20)).unwrap();
        scene.transfer(forward, size, Duration::from_millis(random.below(200)));
    }
    for _ in 0..1 + random.below(3) {
        let forward = usize::try_from(random.below(forwards)).unwrap();
        scene.transfer(forward, 1 << 20, Duration::from_secs(60));
    }
}

/// Budgets under which `stage` has something to do.
fn budgets(stage: Stage) -> [u64; 4] {
    if stage == Stage::ForceCleanup { HASTY } else { BUDGETS }
}

/// `fault` as each stage begins, with transfers open; every end is in time and true.
fn in_each_stage(far: fn() -> Far, fault: Fault, cut: Cut) {
    for seed in seeds() {
        for stage in Stage::ALL {
            println!("seed {seed}, {fault:?} in {stage:?}");
            let mut random = Seeded::new(seed * 4 + stage as u64);
            let mut far = far();
            let mut scene = Scene::start(&far, 3, budgets(stage));
            open_transfers(&mut scene, &mut random);
            let children = scene.children();
            scene.end_with(stage, |_| far.suffer(fault, &children));
            let receipt = ends_true(scene, cut, Duration::ZERO);
            println!("  took {} ms; forced {:?}", receipt.took_ms, receipt.forced);
        }
    }
}

/// S11.1, S7.4: an SSH host that swallows everything.
#[test]
fn s11_1_an_ssh_host_that_falls_silent_in_each_stage() {
    in_each_stage(Far::ssh, Fault::Silence, Cut::ByTheEnd);
}

/// S11.1, S7.4: an `ssh` that is stopped and hears neither words nor TERM.
#[test]
fn s11_1_an_ssh_child_that_is_stopped_in_each_stage() {
    in_each_stage(Far::ssh, Fault::StoppedChild, Cut::ByTheEnd);
}

/// S11.1: an API server behind a line that swallows everything.
#[test]
fn s11_1_an_api_server_that_falls_silent_in_each_stage() {
    in_each_stage(Far::kube, Fault::Silence, Cut::ByTheEnd);
}

/// S11.4: `ssh` is killed from outside.
#[test]
fn s11_4_an_ssh_child_that_is_killed_in_each_stage() {
    in_each_stage(Far::ssh, Fault::KilledChild, Cut::ByOthersToo);
}

/// S11.4: the SSH server goes away and is back at once.
#[test]
fn s11_4_an_ssh_server_that_restarts_in_each_stage() {
    in_each_stage(Far::ssh, Fault::Restart, Cut::ByOthersToo);
}

/// S11.4: the API server goes away and is back at once.
#[test]
fn s11_4_an_api_server_that_restarts_in_each_stage() {
    in_each_stage(Far::kube, Fault::Restart, Cut::ByOthersToo);
}

/// S11.5: the host stands still for longer than the stage's budget and goes on: what
/// could not finish in time is named, and the end is no longer than it stood still.
#[test]
fn s11_5_a_host_that_stands_still_in_each_stage() {
    const STILL: Duration = Duration::from_millis(1_500);
    for seed in seeds() {
        for stage in Stage::ALL {
            println!("seed {seed}, standing still in {stage:?}");
            let mut random = Seeded::new(seed * 4 + stage as u64);
            let far = Far::ssh();
            let mut scene = Scene::start(&far, 3, budgets(stage));
            open_transfers(&mut scene, &mut random);
            scene.end_with(stage, |scene| {
                scene.host.signal(Signal::STOP);
                // Nothing announces that time went by: that is what is tried.
                thread::sleep(STILL);
                scene.host.signal(Signal::CONT);
            });
            let receipt = ends_true(scene, Cut::ByTheEnd, STILL);
            if stage == Stage::CompleteCurrent {
                assert_eq!(receipt.stages[1].because, Because::Expired, "{receipt:#?}");
            }
        }
    }
}
