//! Parts and doubles that the suites share.

pub mod apiserver;
#[cfg(unix)]
pub mod databases;
#[cfg(target_os = "linux")]
pub mod desktop;
#[cfg(unix)]
pub mod engine;
#[cfg(unix)]
pub mod host;
pub mod network;
#[allow(missing_docs, dead_code)]
#[path = "../../src-tauri/tunnel/tests/support/node.rs"]
pub mod node;
#[cfg(unix)]
pub mod password_server;
pub mod ports;
pub mod proxy;
#[cfg(feature = "real-apiserver")]
pub mod real_apiserver;
pub mod servers;
#[cfg(unix)]
pub mod sshd;
