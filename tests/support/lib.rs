//! Parts and doubles that the suites share.

pub mod apiserver;
#[cfg(target_os = "linux")]
pub mod desktop;
#[cfg(unix)]
pub mod engine;
#[cfg(unix)]
pub mod host;
#[cfg(unix)]
pub mod password_server;
pub mod servers;
#[cfg(unix)]
pub mod sshd;
