//! Bytes of a peer as the reader of frames meets them.
#![no_main]

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::frames(input));
