//! Owns what is said of a text that is not YAML, or not within bounds.

use super::super::Rule;
use super::super::cx::{Cx, quoted};
use super::super::mask::Unmaskable;
use super::super::tree::Place;
use super::MAX_BYTES;
use super::extent::Extent;
use saphyr_parser::Marker;

/// A file beyond [`MAX_BYTES`].
pub(super) fn too_large(cx: &mut Cx<'_>, start: Place, bytes: usize) {
    let message = format!("The file has `{bytes}` bytes, allowed are `{MAX_BYTES}`");
    cx.report(Rule::FileTooLarge, start, message, "Split it into several files");
}

/// A character that YAML forbids.
pub(super) fn forbidden(cx: &mut Cx<'_>, place: Place, c: char) {
    let message = format!("The character `U+{:04X}` is not allowed in YAML", u32::from(c));
    let hint = "Remove it, or write it as an escape in double quotes";
    cx.report(Rule::ControlCharacter, place, message, hint);
}

/// References that cannot be covered.
pub(super) fn unmaskable(cx: &mut Cx<'_>, start: Place, why: Unmaskable) {
    match why {
        Unmaskable::TooMany(place) => {
            let message = "The file refers to more variables than can be told apart";
            cx.report(Rule::TooManyVariables, place, message, "Split it into several files");
        }
        Unmaskable::NoPlane => {
            let message = "The file uses characters of both supplementary private-use planes";
            cx.report(Rule::ControlCharacter, start, message, "Remove those of one plane");
        }
    }
}

/// What the parser says, with the place kept inside the file and a hint of our own.
pub(super) fn syntax(cx: &mut Cx<'_>, extent: &Extent<'_>, marker: &Marker, info: &str) {
    let place = extent.place(marker);
    if let Some(tab) = tab_near(extent, place) {
        let hint = "Replace the tab by spaces; YAML indents with spaces only";
        cx.report(Rule::TabIndentation, tab, "A tab stands where YAML wants spaces", hint);
        return;
    }
    let message = format!("This is not YAML: {}", quoted(info));
    cx.report(Rule::YamlSyntax, place, message, syntax_hint(info));
}

/// The tab in the indentation of the line of `place` or of the one before it.
fn tab_near(extent: &Extent<'_>, place: Place) -> Option<Place> {
    let candidates = [place.line, place.line.saturating_sub(1)];
    candidates.into_iter().find_map(|line| {
        let content = extent.line(line)?;
        let indent = &content[..content.len() - content.trim_start_matches([' ', '\t', '-']).len()];
        let column = indent.find('\t')? + 1;
        Some(Place { line, column: u32::try_from(column).unwrap_or(u32::MAX), ..place })
    })
}

fn syntax_hint(info: &str) -> &'static str {
    let hints = [
        ("unknown anchor", "Define the anchor with `&name` before its first `*name`"),
        ("quoted scalar", "Close the quote that was opened before this place"),
        ("end of stream", "Close the quote or bracket that was opened before this place"),
        (
            "mapping values",
            "Put quotes round a value that contains `: `, and check the indentation",
        ),
        ("indentation", "Indent this line like its neighbours of the same level"),
        ("',' or", "Close the bracket, or put a comma between the values"),
        ("bracket", "Close the brackets in the order they were opened"),
        ("unexpected character", "Put quotes round a value that begins with a sign"),
        ("simple key", "Put `: ` after the key, and check the indentation"),
        ("block", "Check the indentation of this line against the lines above"),
    ];
    let found = hints.iter().find(|(words, _)| info.contains(words));
    found.map_or(
        "Check indentation, quotes and brackets at this place and just above",
        |(_, hint)| hint,
    )
}
