//! Parts and doubles that the suites share.

// Parts of tests: a failure here is a failed test, which is the point.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod apiserver;
#[cfg(unix)]
pub mod engine;
#[cfg(unix)]
pub mod host;
pub mod servers;
#[cfg(unix)]
pub mod sshd;
