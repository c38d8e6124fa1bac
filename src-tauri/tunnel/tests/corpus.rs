//! The fuzz targets' harness over their corpus, and over every corpus file with each
//! of its bytes changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail")]

#[path = "../fuzz/harness.rs"]
mod harness;

use std::fs;
use std::path::Path;

fn run(target: &str, harness: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seen = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        harness(&input);
        for at in 0..input.len().min(64) {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = input.clone();
                changed[at] ^= change;
                harness(&changed);
            }
            harness(&input[..at]);
        }
        seen += 1;
    }
    assert!(seen >= 5, "the corpus of {target} has {seen} files");
}

#[test]
fn the_corpus_of_frames() {
    run("frames", harness::frames);
}

#[test]
fn the_corpus_of_headers() {
    run("headers", harness::headers);
}

#[test]
fn the_corpus_of_websocket() {
    run("websocket", harness::websocket);
}
