//! Owns how entries lie on the disk: a line each, with its length and its checksum.
//!
//! `LLLLLLLL CCCCCCCC {json}\n`, length and CRC-32 of the JSON in hexadecimal. JSON never
//! holds a bare line break, so behind a damaged record the next line counts again, and
//! people can read the file.

use super::Entry;
use std::io::Write as _;

/// Longest record, in bytes; a longer line is damage, not a record.
const LIMIT: usize = 64 * 1024;
/// Bytes in front of the JSON.
const HEAD: usize = 18;

/// What lay on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The entries that are whole, in their order.
    pub entries: Vec<Entry>,
    /// Bytes that are no whole record: a torn tail, a damaged line.
    pub damaged: u64,
    /// Whole records of a kind that this version does not know.
    pub unknown: u64,
}

/// The record of `entry`; none when it cannot be written down, as a path that is no
/// Unicode cannot.
#[must_use]
pub fn encode(entry: &Entry) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(entry).ok().filter(|json| json.len() <= LIMIT)?;
    let mut record = Vec::with_capacity(HEAD + json.len() + 1);
    // Writing to memory cannot fail.
    let _ = write!(record, "{:08x} {:08x} ", json.len(), crc32fast::hash(&json));
    record.extend_from_slice(&json);
    record.push(b'\n');
    Some(record)
}

/// Reads what can be read of `bytes`.
#[must_use]
pub fn decode(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match json(line) {
            None => read.damaged += line.len() as u64,
            Some(json) => match serde_json::from_slice(json) {
                Ok(entry) => read.entries.push(entry),
                Err(_) => read.unknown += 1,
            },
        }
    }
    read
}

/// The JSON of a whole record.
fn json(line: &[u8]) -> Option<&[u8]> {
    let body = line.strip_suffix(b"\n")?;
    let json = body.get(HEAD..).filter(|json| json.len() <= LIMIT)?;
    let head = format!("{:08x} {:08x} ", json.len(), crc32fast::hash(json));
    (body.get(..HEAD)? == head.as_bytes()).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::past::tests::entries;
    use crate::journal::replay;
    use proptest::prelude::*;

    fn file(entries: &[Entry]) -> Vec<u8> {
        entries.iter().filter_map(encode).flatten().collect()
    }

    #[test]
    fn a_record_is_a_line_that_people_can_read() {
        let record = encode(&Entry::HostEnded { clean: true }).unwrap();
        let text = String::from_utf8(record).unwrap();
        assert_eq!(text, "00000022 f41f5954 {\"what\":\"host_ended\",\"clean\":true}\n");
    }

    /// A newer version's record is whole and skipped; it is not damage.
    #[test]
    fn a_record_of_an_unknown_kind_is_skipped() {
        let json = br#"{"what":"from_the_future"}"#;
        let mut bytes = format!("{:08x} {:08x} ", json.len(), crc32fast::hash(json)).into_bytes();
        bytes.extend_from_slice(json);
        bytes.push(b'\n');
        bytes.extend(file(&[Entry::HostReady]));
        let read = decode(&bytes);
        assert_eq!((read.unknown, read.damaged), (1, 0));
        assert_eq!(read.entries, [Entry::HostReady]);
    }

    proptest! {
        /// S8.4: what was written is read; what a crash tore off is counted, not read.
        #[test]
        fn s8_4_a_torn_tail_costs_the_torn_record_only(
            entries in entries(),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = file(&entries);
            let read = decode(&whole);
            prop_assert_eq!((&read.entries, read.damaged), (&entries, 0));
            let kept = &whole[..cut.index(whole.len() + 1)];
            let read = decode(kept);
            prop_assert!(entries.starts_with(&read.entries));
            prop_assert_eq!(file(&read.entries).len() as u64 + read.damaged, kept.len() as u64);
        }

        /// S8.4: one flipped bit costs the record it is in, and at most the next one.
        #[test]
        fn s8_4_a_flipped_bit_costs_little(
            entries in entries(),
            place in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut bytes = file(&entries);
            prop_assume!(!bytes.is_empty());
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let read = decode(&bytes);
            prop_assert!(read.damaged > 0);
            prop_assert!(read.entries.len() + 2 >= entries.len());
        }

        /// S8.4: no bytes whatever break the reader or the replay.
        #[test]
        fn s8_4_garbage_is_damage(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let read = decode(&bytes);
            prop_assert_eq!(read.damaged, bytes.len() as u64);
            let _ = replay(read.entries);
        }
    }
}
