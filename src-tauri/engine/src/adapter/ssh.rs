//! Owns the way behind SSH hosts.
