//! Embeds the page and says which commands it may ask for.

use std::process::ExitCode;
use tauri_build::{AppManifest, Attributes};

fn main() -> ExitCode {
    // The page is part of the program: a new one makes a new program.
    println!("cargo:rerun-if-changed=../ui/dist");
    println!("cargo:rerun-if-changed=../icons");
    let manifest = AppManifest::new().commands(&["watch", "command", "explain", "copy"]);
    match tauri_build::try_build(Attributes::new().app_manifest(manifest)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo:error={error:#}");
            ExitCode::FAILURE
        }
    }
}
