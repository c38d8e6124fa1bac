//! Owns child processes: how they start, how they are known again, how they end.
