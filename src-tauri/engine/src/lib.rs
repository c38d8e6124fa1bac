//! The engine: everything LocalPort does with sockets, processes and clusters.
//!
//! Receives commands, emits the snapshot and events. Policies live in `localport-core`.

pub mod adapter;
pub mod control;
pub mod engine;
pub mod handle;
pub mod home;
pub mod host;
pub mod logs;
pub mod process;
pub mod registry;
