//! Owns `cargo xtask test`: every check, in the order in which they fail soonest.

use crate::packages::{
    BUILD, CARGO_DENY, CARGO_NEXTEST, DESKTOP, RUN, TEST, install, install_ui, npm, tool,
};
use crate::shell::{Result, built, cargo, command, step};
use std::env;

/// Sets the machine up and runs everything; `filter` goes to `cargo nextest`.
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
    let (name, package) = CARGO_NEXTEST;
    let nextest = tool(name, package)?;
    // Run by its own path it expects the word that cargo would have passed on.
    let words = ["nextest", "run", "--workspace", "--no-fail-fast"];
    let mut tests = command(&nextest.to_string_lossy(), &words);
    tests.args(filter);
    // The suites start these as a person would.
    tests.env("LOCALPORT_BIN", built("debug", "localport"));
    tests.env("LOCALPORT_DESKTOP_BIN", built("debug", "localport-desktop"));
    step("tests", &mut tests)
}

/// Licences, sources, and who may depend on what.
fn deny() -> Result {
    let (name, package) = CARGO_DENY;
    let program = tool(name, package)?;
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
    let (name, package) = CARGO_DENY;
    let program = tool(name, package)?;
    step("advisories", &mut command(&program.to_string_lossy(), &["check", "advisories"]))
}
