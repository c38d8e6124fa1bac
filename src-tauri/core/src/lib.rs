//! The decisions of LocalPort, without IO: no sockets, files, clock or runtime.
//!
//! Owns the words every other room speaks: the configuration, a forward's state
//! machine, the snapshot (what is), the events (what happened), the commands
//! (what is wanted) and the problems (what is wrong, and what mends it).
//! Time is always an argument.

pub mod audit;
pub mod backoff;
pub mod bridge;
pub mod cluster;
pub mod command;
pub mod config;
pub mod diagnosis;
pub mod event;
pub mod explain;
pub mod forward;
pub mod graph;
pub mod health;
pub mod history;
pub mod import;
pub mod journal;
pub mod kube;
pub mod lifecycle;
pub mod metrics;
pub mod notify;
pub mod parts;
pub mod problem;
pub mod progress;
pub mod receipt;
pub mod record;
pub mod regression;
pub mod release;
pub mod resource;
pub mod shutdown;
pub mod snapshot;
pub mod status;
pub mod time;
