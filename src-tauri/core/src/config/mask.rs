//! Owns how `${…}` passes through YAML unread: before parsing, every reference
//! is covered by an equally long run of private-use characters, so that braces,
//! colons and `#` in it mean nothing to YAML and every line and column stays
//! true; afterwards each run is turned into the reference it stands for.

use super::tree::{Fallback, Piece, Place, Variable};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// A text with its references covered.
pub(super) struct Masked {
    pub(super) text: String,
    /// First character of the private-use plane in use; a spot's index is added to it.
    base: u32,
    spots: Vec<Spot>,
}

/// One covered reference.
struct Spot {
    place: Place,
    what: What,
}

enum What {
    /// The text between the braces.
    Reference(String),
    /// An escaped reference, as it shall read.
    Literal(String),
}

/// Why a text cannot be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmaskable {
    /// The reference at this place is one too many.
    TooMany(Place),
    /// The text uses both private-use planes itself.
    NoPlane,
}

/// What covers the rest of a reference: the last character of a plane but two.
const FILL: u32 = 0xfffd;
/// Most references in a file; the others of the plane's characters stay unused.
const MAX_SPOTS: usize = 0xfff0;
const PLANES: [u32; 2] = [0xf_0000, 0x10_0000];

/// Covers every reference of `text`.
pub(super) fn mask(source: usize, text: &str) -> Result<Masked, Unmaskable> {
    let base = free_plane(text).ok_or(Unmaskable::NoPlane)?;
    let mut masked = Masked { text: String::with_capacity(text.len()), base, spots: Vec::new() };
    let mut place = Place { source, line: 1, column: 1 };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match reference(rest) {
            Some((length, what)) => {
                if masked.spots.len() == MAX_SPOTS {
                    return Err(Unmaskable::TooMany(place));
                }
                masked.cover(place, what, rest[..length].chars().count());
                length
            }
            None => {
                masked.text.push(c);
                c.len_utf8()
            }
        };
        advance(&mut place, &rest[..length], &rest[length..]);
        rest = &rest[length..];
    }
    Ok(masked)
}

impl Masked {
    fn cover(&mut self, place: Place, what: What, width: usize) {
        let index = u32::try_from(self.spots.len()).unwrap_or(0);
        self.text.extend(char::from_u32(self.base + index));
        self.text.extend((1..width).filter_map(|_| char::from_u32(self.base + FILL)));
        self.spots.push(Spot { place, what });
    }

    /// A parsed scalar as texts and references.
    pub(super) fn pieces(&self, scalar: &str, style: ScalarStyle) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        for c in scalar.chars() {
            let spot = match u32::from(c).checked_sub(self.base) {
                Some(FILL) => continue,
                Some(index) => self.spots.get(index as usize),
                None => None,
            };
            let Some(spot) = spot else {
                text.push(c);
                continue;
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(match &spot.what {
                What::Reference(body) => Piece::Variable(variable(spot.place, body, style)),
                What::Literal(literal) => Piece::Literal(unquote(literal, style)),
            });
        }
        if !text.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }
}

/// The reference at the start of `rest`: its length in bytes and what it is.
fn reference(rest: &str) -> Option<(usize, What)> {
    if let Some(inner) = rest.strip_prefix("$${") {
        let Some(end) = closing(inner) else { return Some((3, What::Literal("${".to_owned()))) };
        return Some((3 + end + 1, What::Literal(rest[1..=3 + end].to_owned())));
    }
    let inner = rest.strip_prefix("${")?;
    let end = closing(inner)?;
    let name = inner[..end].split(':').next().unwrap_or_default();
    // Quotes and brackets before the colon: not a reference, but YAML around one.
    let plain = !name.contains(['"', '\'', '{', '[', ']', ',']);
    plain.then(|| (2 + end + 1, What::Reference(inner[..end].to_owned())))
}

/// Where the reference closes, on the same line.
fn closing(inner: &str) -> Option<usize> {
    inner.find(['}', '\n', '\r']).filter(|end| inner[*end..].starts_with('}'))
}

fn variable(place: Place, body: &str, style: ScalarStyle) -> Variable {
    let (name, fallback) = match body.split_once(':') {
        None => (body, Fallback::None),
        Some((name, default)) => match default.strip_prefix('-') {
            Some(default) => (name, Fallback::UnsetOrEmpty(unquote(default, style))),
            None => (name, Fallback::Unset(unquote(default, style))),
        },
    };
    Variable { place, name: name.to_owned(), fallback }
}

/// What `raw` reads as inside quotes of this style.
fn unquote(raw: &str, style: ScalarStyle) -> String {
    match style {
        ScalarStyle::SingleQuoted => raw.replace("''", "'"),
        ScalarStyle::DoubleQuoted if raw.contains('\\') => {
            let quoted = format!("\"{raw}\"");
            let scalar = Parser::new_from_str(&quoted).find_map(|event| match event {
                Ok((Event::Scalar(text, ..), _)) => Some(text.into_owned()),
                _ => None,
            });
            scalar.unwrap_or_else(|| raw.to_owned())
        }
        _ => raw.to_owned(),
    }
}

/// A private-use plane that the text does not use, neither as characters nor as escapes.
fn free_plane(text: &str) -> Option<u32> {
    let escapes = text.to_ascii_lowercase();
    PLANES.into_iter().find(|base| {
        let escaped = format!("\\u{:04x}", base >> 16);
        !text.chars().any(|c| u32::from(c) >> 16 == base >> 16) && !escapes.contains(&escaped)
    })
}

/// Moves `place` past `passed`, which `next` follows.
fn advance(place: &mut Place, passed: &str, next: &str) {
    for c in passed.chars() {
        // CR LF is one break, which its LF ends.
        if c == '\n' || (c == '\r' && !next.starts_with('\n')) {
            place.line += 1;
            place.column = 1;
        } else {
            place.column += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> Masked {
        mask(0, text).expect("can be covered")
    }

    fn names(text: &str) -> Vec<(String, u32, u32)> {
        let masked = covered(text);
        let pieces = masked.pieces(&masked.text, ScalarStyle::Plain);
        let named = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Variable(found) => Some((found.name, found.place.line, found.place.column)),
            Piece::Text(_) | Piece::Literal(_) => None,
        });
        named.collect()
    }

    #[test]
    fn keeps_every_line_and_column() {
        for text in ["a: ${X}\nb: é${Y:1:2}z", "${A}${B}\r\n $${C} ${", "x\r${A}\r\n${B}"] {
            let masked = covered(text);
            assert_eq!(masked.text.chars().count(), text.chars().count(), "{text:?}");
            assert_eq!(masked.text.lines().count(), text.lines().count(), "{text:?}");
        }
    }

    #[test]
    fn knows_where_each_reference_stands() {
        assert_eq!(names("a\r${A}\r\r${B}"), vec![("A".into(), 2, 1), ("B".into(), 4, 1)]);
        let expected = vec![("A".into(), 1, 3), ("B".into(), 3, 2), ("C".into(), 3, 6)];
        assert_eq!(names("é ${A}\r\nx\n ${B}${C:-d}"), expected);
    }

    #[test]
    fn tells_references_from_text() {
        let cases = [
            ("${A}", 1),
            ("$A {A} $ {A}", 0),
            ("${A", 0),
            ("${A\n}", 0),
            ("$${A} $$${A}", 0),
            ("${A:${B}}", 1),
            ("['${A', 'b}']", 0),
        ];
        for (text, count) in cases {
            assert_eq!(names(text).len(), count, "{text:?}");
        }
    }

    #[test]
    fn escapes_read_as_written_without_the_first_dollar() {
        let masked = covered("a$${B:c}d$${");
        let pieces = masked.pieces(&masked.text, ScalarStyle::Plain);
        let (text, literal) =
            (|part: &str| Piece::Text(part.into()), |part: &str| Piece::Literal(part.into()));
        assert_eq!(pieces, vec![text("a"), literal("${B:c}"), text("d"), literal("${")]);
    }

    #[test]
    fn private_use_characters_of_the_text_stay_themselves() {
        let text = "\u{f0001}${A}";
        let masked = covered(text);
        let pieces = masked.pieces(&masked.text, ScalarStyle::Plain);
        assert_eq!(pieces[0], Piece::Text("\u{f0001}".to_owned()));
        assert_eq!(pieces.len(), 2);
        assert_eq!(mask(0, "\u{f0001}\\U0010FFFF").err(), Some(Unmaskable::NoPlane));
    }

    #[test]
    fn defaults_follow_the_quotes_around_them() {
        let default =
            |raw: &str, style| variable(Place { source: 0, line: 1, column: 1 }, raw, style);
        let unset = |text: &str| Fallback::Unset(text.to_owned());
        assert_eq!(default(r"P:C:\\u", ScalarStyle::DoubleQuoted).fallback, unset(r"C:\u"));
        assert_eq!(default(r"P:C:\\u", ScalarStyle::Plain).fallback, unset(r"C:\\u"));
        assert_eq!(default("P:it''s", ScalarStyle::SingleQuoted).fallback, unset("it's"));
    }
}
