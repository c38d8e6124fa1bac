//! Bytes of a peer as the reader of websocket meets them.
#![no_main]

#[path = "../harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::websocket(input));
