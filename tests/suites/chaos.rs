//! Chaos in every stage of an end: networks that fall silent, processes that stop, limits
//! that are reached, wishes in a storm. Each life is seeded, and ends with a receipt that
//! is held against what the test itself sees in `/proc`, on the ports and on the disk.
//!
//! `LOCALPORT_CHAOS_RUNS` sets how many seeds each case is run with (1 when absent),
//! `LOCALPORT_CHAOS_SEED` the first of them; a failure prints the seed to repeat it with.
#![cfg(target_os = "linux")]

#[path = "chaos/called_off.rs"]
mod called_off;
#[path = "chaos/exhaustion.rs"]
mod exhaustion;
#[path = "chaos/far.rs"]
mod far;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/many.rs"]
mod many;
#[path = "chaos/scene.rs"]
mod scene;
#[path = "chaos/seeded.rs"]
mod seeded;
#[path = "chaos/storm.rs"]
mod storm;
#[path = "chaos/transfer.rs"]
mod transfer;
#[path = "chaos/truth.rs"]
mod truth;
