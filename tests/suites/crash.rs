//! Hosts that are killed at every step, and disks that fail under them: what the next
//! start makes of it.
#![cfg(unix)]

#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/steps.rs"]
mod steps;
#[path = "crash/switches.rs"]
mod switches;
#[allow(dead_code)]
#[path = "chaos/transfer.rs"]
mod transfer;
#[path = "crash/transfers.rs"]
mod transfers;
