//! Owns the lines of a source, to find places in it and to keep places inside it.

use super::super::tree::Place;
use saphyr_parser::Marker;

/// The lines of a source, without their breaks: LF, CR LF or CR, as in YAML.
pub(super) struct Extent<'t> {
    source: usize,
    lines: Vec<&'t str>,
}

impl<'t> Extent<'t> {
    pub(super) fn of(source: usize, text: &'t str) -> Self {
        let lines =
            text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
        Self { source, lines: lines.collect() }
    }

    /// A line by its number from 1.
    pub(super) fn line(&self, number: u32) -> Option<&'t str> {
        self.lines.get((number as usize).checked_sub(1)?).copied()
    }

    /// The place of a marker. The parser puts what it misses at the end on a line
    /// after the last; that becomes the end of the last.
    pub(super) fn place(&self, marker: &Marker) -> Place {
        let line = marker.line().clamp(1, self.lines.len());
        let width = self.lines.get(line - 1).map_or(0, |line| line.chars().count());
        let column = if marker.line() > line { width } else { marker.col().min(width) };
        self.at(line - 1, column)
    }

    /// The first character that `wanted` wants.
    pub(super) fn find(&self, wanted: impl Fn(char) -> bool) -> Option<(Place, char)> {
        self.lines.iter().enumerate().find_map(|(index, line)| {
            let (column, c) = line.chars().enumerate().find(|(_, c)| wanted(*c))?;
            Some((self.at(index, column), c))
        })
    }

    fn at(&self, line: usize, column: usize) -> Place {
        let number = |before: usize| u32::try_from(before + 1).unwrap_or(u32::MAX);
        Place { source: self.source, line: number(line), column: number(column) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_break_of_yaml_ends_a_line() {
        let cases: [(&str, &[&str]); 5] = [
            ("", &[""]),
            ("a\nb", &["a", "b"]),
            ("a\r\nb\r\n", &["a", "b", ""]),
            ("a\rb\r\rc", &["a", "b", "", "c"]),
            ("a\r\r\nb", &["a", "", "b"]),
        ];
        for (text, lines) in cases {
            assert_eq!(Extent::of(0, text).lines, lines, "{text:?}");
        }
    }

    #[test]
    fn places_stay_inside() {
        let extent = Extent::of(0, "é\nab");
        let place = |line, column| {
            let place = extent.place(&Marker::new(0, line, column));
            (place.line, place.column)
        };
        assert_eq!(
            [place(1, 0), place(1, 9), place(2, 1), place(3, 0), place(0, 0)],
            [(1, 1), (1, 2), (2, 2), (2, 3), (1, 1)]
        );
    }
}
