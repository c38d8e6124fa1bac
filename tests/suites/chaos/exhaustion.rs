//! Limits that are reached while a host ends: descriptors, threads and processes.

use crate::far::Far;
use crate::scene::{BUDGETS, Scene, configured};
use crate::seeded::{Seeded, seeds};
use crate::truth::{Cut, ends_true};
use localport_core::shutdown::Stage;
use localport_tests::host::binary;
use rustix::process::getuid;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Whom limits of threads bind: they do not bind root.
const NOBODY: u32 = 65_534;

/// Sets a limit of the host's, as the host's own user: that needs no privilege.
fn limit(scene: &Scene, resource: &str, most: u64, user: u32) {
    let mut command = Command::new("prlimit");
    command.args([format!("--pid={}", scene.host.pid()), format!("--{resource}={most}:")]);
    let status = command.uid(user).gid(user).status().expect("util-linux is everywhere");
    assert!(status.success(), "{resource}: {status}");
}

/// The number that the next descriptor of the host gets.
fn next(scene: &Scene) -> u64 {
    let entries = fs::read_dir(format!("/proc/{}/fd", scene.host.pid())).unwrap();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let taken: BTreeSet<u64> = entries.flatten().filter_map(number).collect();
    (0..).find(|number| !taken.contains(number)).unwrap()
}

/// From each stage on the host has as many descriptors as `most` says; every end is in
/// time and true.
fn descriptors(most: impl Fn(&Scene, &mut Seeded) -> u64) {
    for seed in seeds() {
        for stage in Stage::ALL {
            let mut random = Seeded::new(seed * 4 + stage as u64);
            let far = Far::ssh();
            let mut scene = Scene::start(&far, 2, BUDGETS);
            scene.transfer(0, 50_000, Duration::from_millis(random.below(300)));
            scene.transfer(1, 1 << 20, Duration::from_secs(60));
            scene.end_with(stage, |scene| {
                let most = most(scene, &mut random);
                println!("seed {seed}, {most} descriptors from {stage:?} on");
                limit(scene, "nofile", most, getuid().as_raw());
            });
            let receipt = ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
            println!("  {} ms, {:?}", receipt.took_ms, receipt.remarks);
        }
    }
}

/// S11.2: every descriptor that there may be is taken, or all but a few.
#[test]
fn s11_2_descriptors_run_out_in_each_stage() {
    descriptors(|scene, random| next(scene) + random.below(4));
}

/// S11.2: not a single file, socket or pipe can be opened, whatever is closed.
#[test]
fn s11_2_no_descriptor_can_be_had_in_each_stage() {
    descriptors(|_, _| 0);
}

/// S11.2: from each stage on no thread and no process can be started.
#[test]
fn s11_2_no_thread_is_left_in_each_stage() {
    for seed in seeds() {
        for stage in Stage::ALL {
            println!("seed {seed}, no threads from {stage:?} on");
            let far = Far::ssh();
            let mut scene = unprivileged(&far);
            scene.transfer(0, 50_000, Duration::from_millis(100));
            scene.transfer(1, 1 << 20, Duration::from_secs(60));
            let user = if getuid().is_root() { NOBODY } else { getuid().as_raw() };
            scene.end_with(stage, |scene| limit(scene, "nproc", 1, user));
            let receipt = ends_true(scene, Cut::ByTheEnd, Duration::ZERO);
            println!("  {} ms, {:?}", receipt.took_ms, receipt.remarks);
        }
    }
}

/// A host that is not root's, so that limits bind it.
fn unprivileged(far: &Far) -> Scene {
    let sandbox = configured(far, 2, BUDGETS);
    if !getuid().is_root() {
        return Scene::run(sandbox, BUDGETS);
    }
    let Far::Ssh(sshd) = far else { panic!("a cluster has no key to hand over") };
    // What it reads lies below directories that only root may enter.
    let program = sandbox.path().join("localport");
    if fs::hard_link(binary(), &program).is_err() {
        fs::copy(binary(), &program).unwrap();
    }
    let key = sshd.path("user_key");
    fs::set_permissions(key.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [sandbox.path(), &sandbox.config(), &key] {
        give(path);
    }
    let mut command = sandbox.command_of(&program);
    command.uid(NOBODY).gid(NOBODY);
    Scene::run_as(sandbox, BUDGETS, command)
}

fn give(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}
