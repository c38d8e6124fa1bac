//! Parts and doubles that the suites share.

pub mod servers;
#[cfg(unix)]
pub mod sshd;
