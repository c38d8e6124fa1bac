//! Owns what the tray app can be started with.

use clap::Parser;
use std::path::PathBuf;

/// LocalPort in the tray: local ports that stay connected to clusters and SSH hosts.
#[derive(Debug, Parser)]
#[command(name = "localport-desktop", version)]
pub(crate) struct Arguments {
    /// Open the window at the start
    #[arg(long)]
    pub(crate) window: bool,

    /// Open no window, also where there is no tray; a second start opens it
    #[arg(long, conflicts_with = "window")]
    pub(crate) hidden: bool,

    /// Read this configuration instead of searching for one; may be repeated
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) config_files: Vec<PathBuf>,
}
