//! Owns `cargo xtask bench`: our forwards beside plain ones, as ratios.

use crate::shell::Result;

/// SSH forwards against plain `ssh -L`.
pub fn ssh() -> Result {
    Err("written next".to_owned())
}
