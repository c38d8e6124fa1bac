//! Owns `cargo xtask cross-check`: type-checks Windows and macOS code on Debian.
//!
//! Debian's own rustc carries the source of the standard library, which is all that a
//! check for another system needs; the product's builds never use it.

use crate::packages::{CROSS, install};
use crate::shell::{Result, command, root, step, target_dir};
use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: &[&str] = &["localport-core", "localport-lifecycle", "localport-engine", "localport"];

/// Checks every room but the shell for both systems.
pub fn run() -> Result {
    install(&[CROSS])?;
    let stubs = stubs()?;
    check("x86_64-pc-windows-gnu", None)?;
    check("aarch64-apple-darwin", Some(&stubs))
}

fn check(target: &str, stubs: Option<&Path>) -> Result {
    let mut check = command("/usr/bin/cargo", &["check", "-Zbuild-std", "--target", target]);
    for room in ROOMS {
        check.args(["-p", room]);
    }
    check
        .current_dir(root())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", target_dir().join("cross-check").join(target));
    if let Some(stubs) = stubs {
        // Nothing is linked in a check: build scripts that compile C for the target get a
        // compiler that leaves an empty object. What runs on this machine gets the real one.
        let name = target.replace('-', "_");
        check.env(format!("CC_{name}"), stubs.join("cc"));
        check.env(format!("AR_{name}"), stubs.join("ar"));
    }
    step(&format!("check for {target}"), &mut check)
}

/// Stand-ins for Apple's compiler and archiver: they make empty files where a build
/// script expects output.
fn stubs() -> Result<PathBuf> {
    let dir = target_dir().join("cross-check/stubs");
    let failed = |error: std::io::Error| format!("cannot write `{}`: {error}", dir.display());
    fs::create_dir_all(&dir).map_err(failed)?;
    let compiler = "#!/bin/sh\nout=\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && out=$2; shift; done\n\
                    [ -n \"$out\" ] && : > \"$out\"\nexit 0\n";
    let archiver = "#!/bin/sh\nfor word; do case $word in *.a) printf '!<arch>\\n' > \"$word\";; esac; done\nexit 0\n";
    for (name, text) in [("cc", compiler), ("ar", archiver)] {
        fs::write(dir.join(name), text).map_err(failed)?;
        crate::shell::run(command("chmod", &["+x"]).arg(dir.join(name)))?;
    }
    Ok(dir)
}
