//! Owns the life of an engine in a process: one engine per user, its lock, its
//! configuration, its control API. The headless command and the tray app start here.
