//! Owns which local ports tests use: free ones, below those that the system gives to
//! clients, and different in each test process and call, so that nobody takes one in
//! between.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const LOWEST: u16 = 10_000;
const RANGE: u16 = 22_000;

/// A port that is free on both loopbacks.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1_100 * 20).unwrap();
    loop {
        let port = LOWEST + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % RANGE;
        let is_free = |address| TcpListener::bind((address, port)).is_ok();
        // A machine without IPv6 has none of it to be taken.
        if is_free("127.0.0.1") && (is_free("::1") || TcpListener::bind("[::1]:0").is_err()) {
            return port;
        }
    }
}

/// As many ports as asked for, each free and none twice.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    std::iter::repeat_with(free_port).take(count).collect()
}
