//! Owns `cargo xtask bench`: our forwards beside plain ones, as ratios.

use crate::packages::{BUILD, RUN, install};
use crate::shell::{Result, cargo, step};

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
