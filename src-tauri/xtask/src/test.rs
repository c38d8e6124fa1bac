//! Owns `cargo xtask test`: every check, in the order in which they fail soonest.

use crate::packages::{BUILD, DESKTOP, RUN, TEST, cargo_deny, install, install_ui, npm};
use crate::shell::{Result, built, cargo, command, step};
use std::env;

/// Sets the machine up and runs everything; `filter` goes to `cargo test`.
pub fn run(filter: &[&str]) -> Result {
    install(&[RUN, BUILD, DESKTOP, TEST])?;
    install_ui()?;
    if filter.is_empty() {
        step("format", &mut cargo(&["fmt", "--all", "--", "--check"]))?;
        step("window: types", &mut npm(&["run", "check"]))?;
        step("window: tests", &mut npm(&["test"]))?;
    }
    // The shell embeds the built window, so it comes before any build of the shell.
    step("window: build", &mut npm(&["run", "build"]))?;
    if filter.is_empty() {
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        step("clippy", &mut cargo(&clippy))?;
        deny()?;
    }
    let programs = ["build", "-p", "localport", "-p", "localport-desktop"];
    step("build", &mut cargo(&programs))?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    tests.args(filter);
    // The suites start these as a person would.
    tests.env("LOCALPORT_BIN", built("debug", "localport"));
    tests.env("LOCALPORT_DESKTOP_BIN", built("debug", "localport-desktop"));
    step("tests", &mut tests)
}

/// Licences, sources, and who may depend on what.
fn deny() -> Result {
    let program = cargo_deny()?;
    let words = ["--log-level", "error", "check", "bans", "licenses", "sources"];
    let mut deny = command(&program.to_string_lossy(), &words);
    // cargo-deny asks cargo for the dependency graph.
    if let Some(cargo) = env::var_os("CARGO") {
        deny.env("CARGO", cargo);
    }
    step("licences and dependencies", &mut deny)
}

/// Known vulnerabilities; apart from the tests, because their database is fetched.
pub fn audit() -> Result {
    let program = cargo_deny()?;
    step("advisories", &mut command(&program.to_string_lossy(), &["check", "advisories"]))
}
