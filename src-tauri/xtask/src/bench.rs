//! Owns `cargo xtask bench`: our forwards beside plain ones, as ratios.

use crate::packages::{BUILD, RUN, install};
use crate::shell::{Result, cargo, step};

/// SSH forwards against plain `ssh -L`, on a server of its own.
pub fn ssh() -> Result {
    install(&[RUN, BUILD, &["openssh-server"]])?;
    let words = ["run", "--release", "--quiet", "-p", "localport-tests", "--bin", "bench-ssh"];
    step("ssh forwards", &mut cargo(&words))
}
