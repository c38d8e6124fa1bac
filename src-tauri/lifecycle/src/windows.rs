//! Windows: a hidden window for session and power, the IP helper for the network.

pub(crate) mod network;
pub(crate) mod window;
