//! Owns header blocks: name and value pairs inside one zlib stream per direction.
//!
//! What goes out is *stored*, not compressed: three small headers gain nothing from a
//! compressor, and without one there is nothing for a CRIME attack to measure. What
//! comes in is really inflated, because the stream's state spans all blocks, into a
//! buffer whose size is bounded.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};
use std::sync::OnceLock;

/// Header blocks that inflate to more are refused.
pub const MAX_BLOCK: usize = 32 * 1024;

/// Blocks with more headers are refused.
pub const MAX_HEADERS: usize = 64;

/// How far back a match may point in a deflate stream (RFC 1951).
const WINDOW: usize = 32 * 1024;

/// The most that one stored block holds (RFC 1951, 3.2.4).
const STORED_MAX: usize = 0xffff;

/// A zlib header that names a preset dictionary: deflate, 32 KiB window, FDICT set
/// (RFC 1950, 2.2), and the Adler-32 of SPDY/3's dictionary.
const ZLIB_START: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];

/// A stored block of nothing: what a zlib sync flush ends with. A peer that inflates
/// block by block fails on the next block when this one does not end with it.
const EMPTY_STORED: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// Words of SPDY/3's dictionary, each preceded there by its length in four bytes
/// (draft-mbelshe-httpbis-spdy-00, 2.6.10.1).
const WORDS: &str = "options|head|post|put|delete|trace|accept|accept-charset|\
accept-encoding|accept-language|accept-ranges|age|allow|authorization|cache-control|\
connection|content-base|content-encoding|content-language|content-length|\
content-location|content-md5|content-range|content-type|date|etag|expect|expires|from|\
host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|\
last-modified|location|max-forwards|pragma|proxy-authenticate|proxy-authorization|\
range|referer|retry-after|server|te|trailer|transfer-encoding|upgrade|user-agent|vary|\
via|warning|www-authenticate|method|get|status|200 OK|version|HTTP/1.1|url|public|\
set-cookie|keep-alive|origin";

/// What follows the words, without lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414\
415416417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 \
Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not \
Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec \
00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,\
image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public\
privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// Why a header block cannot be read. The stream of blocks is lost with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is no zlib stream with SPDY/3's dictionary.
    #[error("the header block is not compressed as SPDY/3 says")]
    NotDeflate,
    /// It inflates to more than [`MAX_BLOCK`] bytes.
    #[error("the header block inflates to more than {MAX_BLOCK} bytes")]
    TooLarge,
    /// It holds more than [`MAX_HEADERS`] headers.
    #[error("the header block holds more than {MAX_HEADERS} headers")]
    TooMany,
    /// Its inner lengths contradict each other.
    #[error("the header block ends inside a header")]
    Truncated,
}

/// A header: its name in lower case and its value, both raw.
pub type Header = (Vec<u8>, Vec<u8>);

/// Writes header blocks of one connection, in order.
#[derive(Debug, Default)]
pub struct HeaderEncoder {
    started: bool,
}

impl HeaderEncoder {
    /// The block that carries `headers`. Blocks must reach the peer in the order in
    /// which they were made.
    pub fn encode(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(128);
        put_length(&mut plain, headers.len());
        for (name, value) in headers {
            for part in [name, value] {
                put_length(&mut plain, part.len());
                plain.extend_from_slice(part.as_bytes());
            }
        }
        let mut block = Vec::with_capacity(plain.len() + 16);
        if !self.started {
            self.started = true;
            block.extend_from_slice(&ZLIB_START);
        }
        for piece in plain.chunks(STORED_MAX) {
            let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            block.push(0);
            block.extend_from_slice(&length.to_le_bytes());
            block.extend_from_slice(&(!length).to_le_bytes());
            block.extend_from_slice(piece);
        }
        block.extend_from_slice(&EMPTY_STORED);
        block
    }
}

fn put_length(to: &mut Vec<u8>, length: usize) {
    // Longer than u32 is longer than memory on what runs this.
    to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// Reads header blocks of one connection, in order.
#[derive(Default)]
pub struct HeaderDecoder {
    inflater: Box<DecompressorOxide>,
    /// The last [`WINDOW`] bytes of the stream, then room for one block.
    window: Vec<u8>,
    history: usize,
    started: bool,
}

impl std::fmt::Debug for HeaderDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeaderDecoder").field("started", &self.started).finish_non_exhaustive()
    }
}

impl HeaderDecoder {
    /// The headers in `block`.
    ///
    /// # Errors
    /// When it cannot be read or passes a limit. No later block can be read then.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<Header>, HeaderError> {
        let plain = self.inflate(block)?;
        parse(plain)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<&[u8], HeaderError> {
        let body = if self.started {
            block
        } else {
            let body = block.strip_prefix(&ZLIB_START[..]).or_else(|| foreign_start(block));
            let body = body.ok_or(HeaderError::NotDeflate)?;
            self.started = true;
            self.window.clear();
            self.window.extend_from_slice(dictionary());
            self.history = self.window.len();
            body
        };
        if self.history > WINDOW {
            self.window.drain(..self.history - WINDOW);
            self.history = WINDOW;
        }
        self.window.resize(self.history + MAX_BLOCK + 1, 0);
        let options =
            flags::TINFL_FLAG_HAS_MORE_INPUT | flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) =
            decompress(&mut self.inflater, body, &mut self.window, self.history, options);
        if written > MAX_BLOCK || status == TINFLStatus::HasMoreOutput {
            return Err(HeaderError::TooLarge);
        }
        if status != TINFLStatus::NeedsMoreInput || read != body.len() {
            return Err(HeaderError::NotDeflate);
        }
        let start = self.history;
        self.history += written;
        self.window.truncate(self.history);
        Ok(&self.window[start..])
    }
}

/// What follows a zlib header that differs from ours in its level only.
fn foreign_start(block: &[u8]) -> Option<&[u8]> {
    let (start, rest) = block.split_first_chunk::<6>()?;
    let check = u16::from_be_bytes([start[0], start[1]]);
    let deflate = start[0] & 0x0f == 8 && start[0] >> 4 <= 7 && check.is_multiple_of(31);
    let preset = start[1] & 0x20 != 0 && start[2..] == ZLIB_START[2..];
    (deflate && preset).then_some(rest)
}

fn parse(mut plain: &[u8]) -> Result<Vec<Header>, HeaderError> {
    let count = take_length(&mut plain)?;
    if count > MAX_HEADERS {
        return Err(HeaderError::TooMany);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((take_text(&mut plain)?, take_text(&mut plain)?));
    }
    if plain.is_empty() { Ok(headers) } else { Err(HeaderError::Truncated) }
}

fn take_length(from: &mut &[u8]) -> Result<usize, HeaderError> {
    let (length, rest) = from.split_first_chunk::<4>().ok_or(HeaderError::Truncated)?;
    *from = rest;
    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| HeaderError::Truncated)
}

fn take_text(from: &mut &[u8]) -> Result<Vec<u8>, HeaderError> {
    let length = take_length(from)?;
    let (text, rest) = from.split_at_checked(length).ok_or(HeaderError::Truncated)?;
    *from = rest;
    Ok(text.to_vec())
}

/// SPDY/3's preset dictionary.
#[must_use]
pub fn dictionary() -> &'static [u8] {
    static DICTIONARY: OnceLock<Vec<u8>> = OnceLock::new();
    DICTIONARY.get_or_init(|| {
        let mut dictionary = Vec::with_capacity(1_423);
        for word in WORDS.split('|') {
            put_length(&mut dictionary, word.len());
            dictionary.extend_from_slice(word.as_bytes());
        }
        dictionary.extend_from_slice(TAIL.as_bytes());
        dictionary
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adler32(bytes: &[u8]) -> u32 {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in bytes {
            a = (a + u32::from(*byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        b << 16 | a
    }

    /// The specification gives the dictionary's check sum; a wrong letter would show.
    #[test]
    fn the_dictionary_is_the_specifications() {
        assert_eq!(dictionary().len(), 1_423);
        assert_eq!(adler32(dictionary()), 0xe3c6_a7c2);
    }

    /// Nodes fail on the block after one that ends otherwise.
    #[test]
    fn every_block_ends_with_an_empty_stored_block() {
        let mut encoder = HeaderEncoder::default();
        let first = encoder.encode(&[("streamtype", "error"), ("port", "80")]);
        assert!(first.starts_with(&ZLIB_START) && first.ends_with(&EMPTY_STORED));
        let second = encoder.encode(&[]);
        assert_eq!(second, [&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0][..], &EMPTY_STORED].concat());
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let (mut encoder, mut decoder) = (HeaderEncoder::default(), HeaderDecoder::default());
        for round in 0..5_000 {
            let id = round.to_string();
            let block = encoder.encode(&[("streamtype", "data"), ("requestid", &id)]);
            let headers = decoder.decode(&block).unwrap();
            assert_eq!(headers[1], (b"requestid".to_vec(), id.into_bytes()));
            assert!(decoder.window.len() <= WINDOW + MAX_BLOCK + 1);
        }
    }

    #[test]
    fn a_block_that_passes_a_limit_is_refused() {
        let long = "x".repeat(MAX_BLOCK);
        let block = HeaderEncoder::default().encode(&[("a", &long)]);
        assert_eq!(HeaderDecoder::default().decode(&block), Err(HeaderError::TooLarge));
        let many = vec![("a", "b"); MAX_HEADERS + 1];
        let block = HeaderEncoder::default().encode(&many);
        assert_eq!(HeaderDecoder::default().decode(&block), Err(HeaderError::TooMany));
        assert_eq!(HeaderDecoder::default().decode(b"plain"), Err(HeaderError::NotDeflate));
    }
}
