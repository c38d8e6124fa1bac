//! `cargo xtask <task>`: set-up, demo, tests, benchmarks and cross-checks of LocalPort.
//!
//! Standard library only: it has to start on a machine that has nothing but cargo.

mod apiserver;
mod bench;
mod cross_check;
mod demo;
mod packages;
mod shell;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <task>

  demo          set up this machine, build, and carry real bytes through a real forward
  test          set up this machine, and run every check and test
  test --real-apiserver
                build a real API server once, and run the Kubernetes forwards against it
  bench ssh     measure our SSH forwards against plain `ssh -L`, side by side
  bench kube    measure our Kubernetes forwards against kubectl, side by side
  bench health  measure what watching a thousand forwards costs
  bench shutdown  measure how an end goes, beside LocalPort 0.3.7.3 from PyPI
  cross-check   type-check the Windows and macOS code on a Debian machine
  audit         compare the dependencies with the database of known vulnerabilities

On Debian and its kin, set-up installs system packages with apt-get (through sudo when
not root). Elsewhere it says what is needed.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["demo", rest @ ..] => demo::run(rest),
        ["test", "--real-apiserver", rest @ ..] => apiserver::test(rest),
        ["test", rest @ ..] => test::run(rest),
        ["bench", "ssh"] => bench::ssh(),
        ["bench", "kube"] => bench::kube(),
        ["bench", "health"] => bench::health(),
        ["bench", "shutdown"] => bench::shutdown(),
        ["cross-check"] => cross_check::run(),
        ["audit"] => test::audit(),
        ["help" | "--help" | "-h"] | [] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("unknown task `{}`\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error}");
            ExitCode::FAILURE
        }
    }
}
