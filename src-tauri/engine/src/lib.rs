//! The engine: everything LocalPort does with sockets, processes and clusters.
//!
//! Receives commands, emits the snapshot and events. Policies live in `localport-core`.

pub mod adapter;
mod client;
pub mod config_store;
pub mod control;
pub mod deadline;
pub mod engine;
pub mod explain;
pub mod handle;
pub mod home;
pub mod host;
pub mod journal;
pub mod listener;
pub mod logs;
mod monitor;
mod probe;
pub mod process;
pub mod registry;
pub mod relay;
pub mod store;
mod supervisor;
pub mod verify;
