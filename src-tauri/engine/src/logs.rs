//! Owns the logs: a bounded file and the lines of each forward.
