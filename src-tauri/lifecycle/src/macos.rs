//! macOS: the workspace's notifications of sleep, the routing socket for the network.

pub(crate) mod network;
pub(crate) mod workspace;
