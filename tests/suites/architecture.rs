//! The rooms and their direction: what no compiler and no `deny.toml` says.

use localport_core::resource::LeaseKind;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Names under `[dependencies]`, for every target.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(manifest)).unwrap();
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
        } else if inside && let Some((name, _)) = line.split_once(['.', '=']) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

/// `core` decides and does nothing: no runtime, no IO, no clock.
#[test]
fn core_depends_on_data_only() {
    let allowed = ["crc32fast", "saphyr-parser", "serde", "serde_json", "shlex", "strsim", "ts-rs"];
    let found = dependencies("src-tauri/core/Cargo.toml");
    let foreign: Vec<_> = found.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
    assert!(foreign.is_empty(), "core must not depend on {foreign:?}");
}

/// The direction of the rooms: nobody names what stands above.
#[test]
fn no_room_names_what_stands_above_it() {
    let above = [
        ("src-tauri/core/Cargo.toml", &["localport-engine", "localport-lifecycle"][..]),
        ("src-tauri/lifecycle/Cargo.toml", &["localport-engine", "tauri"][..]),
        ("src-tauri/tunnel/Cargo.toml", &["localport-core", "localport-engine", "kube"][..]),
        ("src-tauri/engine/Cargo.toml", &["localport-lifecycle", "tauri", "localport"][..]),
        ("src-tauri/cli/Cargo.toml", &["tauri", "localport-desktop"][..]),
    ];
    for (manifest, forbidden) in above {
        let found = dependencies(manifest);
        for name in forbidden {
            assert!(!found.contains(*name), "{manifest} must not depend on {name}");
        }
    }
}

/// S2.5: every task has an owner. clippy bans the calls; this bans switching clippy off.
#[test]
fn s2_5_nobody_lifts_the_ban_on_bare_tasks() {
    let mut lifted = vec![];
    visit(&root().join("src-tauri"), &mut |path, text| {
        if path.ends_with("registry.rs")
            || path.components().any(|part| part.as_os_str() == "tests")
        {
            return;
        }
        // The toolkit's macro ends the process when what it built in cannot be read, and
        // stands alone in its file; the shell's main ends it when nothing else can. A task
        // started there is still found.
        let may_end = ["src-tauri/src/context.rs", "src-tauri/src/main.rs"];
        if may_end.iter().any(|may| path.ends_with(may)) && !text.contains("spawn") {
            return;
        }
        if text.contains("allow(clippy::disallowed_methods") {
            lifted.push(path.display().to_string());
        }
    });
    assert!(lifted.is_empty(), "the ban on bare tasks is lifted in {lifted:?}");
}

/// The table of lease kinds in the documents has a row for every kind there is, and for
/// no other (S3.2).
#[test]
fn s3_2_the_documents_say_who_cleans_what() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = document.split_once("## Who cleans what").unwrap().1;
    let rows: Vec<&str> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').nth(1).unwrap().trim())
        .collect();
    let kinds: Vec<&str> = LeaseKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(rows, kinds);
    let claimed = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    for (kind, line) in LeaseKind::ALL.iter().zip(claimed) {
        let cell = line.split('|').nth(3).unwrap();
        let rooms: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!rooms.is_empty(), "nobody claims {kind:?}");
        for room in rooms {
            let claims = format!("LeaseKind::{kind:?}");
            // This one passes on whatever it is told.
            let claims = if room == "host/holdings" { "registry.lease(kind" } else { &claims };
            assert!(text_of(room).contains(claims), "`{room}` does not claim {kind:?}");
        }
    }
}

/// The text of a room, which is the engine's unless it names its crate.
fn text_of(room: &str) -> String {
    let of = |name: &str, rest: &str| root().join(format!("src-tauri/{name}/src/{rest}.rs"));
    let other = room.split_once('/').map(|(name, rest)| of(name, rest));
    let file = other.filter(|file| file.exists()).unwrap_or_else(|| of("engine", room));
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn visit(dir: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|end| end == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// S8.5: the diagram of the end in the documents is the machine's own.
#[test]
fn s8_5_the_documents_show_the_shutdown_machine() {
    let document = fs::read_to_string(root().join("docs/shutdown.md")).unwrap();
    let diagram = localport_core::shutdown::diagram();
    assert!(document.contains(&diagram), "docs/shutdown.md does not hold:\n{diagram}");
}
