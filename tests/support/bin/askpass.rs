//! What every program that hosts an engine does first: acts as `ssh`'s password helper
//! when it was started as one. The suites' own program cannot, since it is the harness's.

use std::process::ExitCode;

fn main() -> ExitCode {
    localport_engine::adapter::ssh::askpass::run_helper().unwrap_or(ExitCode::from(2))
}
