//! Owns `cargo xtask bench`: our forwards beside plain ones, as ratios.

use crate::packages::{BUILD, RUN, install, python_tool};
use crate::shell::{Result, built, cargo, step};

/// The LocalPort that people come from, in the release whose figures are known.
const BEFORE: &str = "localport==0.3.7.3";

/// SSH forwards against plain `ssh -L`, on a server of its own.
pub fn ssh() -> Result {
    install(&[RUN, BUILD, &["openssh-server"]])?;
    let words = ["run", "--release", "--quiet", "-p", "localport-tests", "--bin", "bench-ssh"];
    step("ssh forwards", &mut cargo(&words))
}

/// Kubernetes forwards against kubectl, where the machine has one, and against one
/// WebSocket per connection, on a double of an API server.
pub fn kube() -> Result {
    install(&[RUN, BUILD])?;
    let words = ["run", "--release", "--quiet", "-p", "localport-tests", "--bin", "bench-kube"];
    step("Kubernetes forwards", &mut cargo(&words))
}

/// How an end goes, beside the older LocalPort from PyPI.
pub fn shutdown() -> Result {
    install(&[RUN, BUILD, &["openssh-server", "python3-venv"]])?;
    let before = python_tool("localport", BEFORE)?;
    step("build", &mut cargo(&["build", "--release", "-p", "localport"]))?;
    let words = ["run", "--release", "--quiet", "-p", "localport-tests", "--bin", "bench-shutdown"];
    let mut bench = cargo(&words);
    bench.env("LOCALPORT_BIN", built("release", "localport")).env("LOCALPORT_BEFORE", before);
    step("shutdown", &mut bench)
}

/// What watching a thousand forwards costs.
pub fn health() -> Result {
    install(&[BUILD])?;
    let words = ["bench", "--quiet", "-p", "localport-engine", "--bench", "probes"];
    step("health of a thousand forwards", &mut cargo(&words))
}
