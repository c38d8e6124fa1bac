//! Owns `cargo xtask demo`: the main job on a bare machine.

use crate::packages::{BUILD, DESKTOP, RUN, install, install_ui, npm};
use crate::shell::{Result, built, cargo, step};
use std::env;
use std::process::Command;

/// Sets the machine up, builds and runs `localport demo`; `rest` goes to it. Where there
/// is a display, the tray app shows the forwards.
pub fn run(rest: &[&str]) -> Result {
    let desktop = has_display() && !rest.contains(&"--headless");
    if desktop {
        install(&[RUN, BUILD, DESKTOP])?;
        install_ui()?;
        step("window: build", &mut npm(&["run", "build"]))?;
        step("build", &mut cargo(&["build", "-p", "localport", "-p", "localport-desktop"]))?;
    } else {
        install(&[RUN, BUILD])?;
        step("build", &mut cargo(&["build", "-p", "localport"]))?;
    }
    let mut demo = Command::new(built("debug", "localport"));
    demo.arg("demo");
    if desktop {
        demo.arg("--desktop").arg(built("debug", "localport-desktop"));
    }
    demo.args(rest.iter().filter(|word| **word != "--headless"));
    println!();
    crate::shell::run(&mut demo)
}

fn has_display() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|d| !d.is_empty()))
}
