//! Owns columns of text that line up, whatever colour they have.

use super::paint;
use anstyle::AnsiColor;

/// One field of a row.
pub(crate) struct Cell {
    text: String,
    colour: Option<AnsiColor>,
}

impl Cell {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: None }
    }

    pub(crate) fn coloured(text: impl Into<String>, colour: AnsiColor) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn show(&self, colour: bool) -> String {
        match self.colour {
            Some(own) => paint(colour, own, &self.text),
            None => self.text.clone(),
        }
    }
}

/// A row, and lines that belong below it.
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    pub(crate) below: Vec<String>,
}

/// The table's lines, with `head` above them.
pub(crate) fn lines(head: &[&str], rows: &[Row], colour: bool) -> Vec<String> {
    let head: Vec<Cell> = head.iter().copied().map(Cell::plain).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.cells.get(column));
            cells.chain(head.get(column)).map(Cell::width).max().unwrap_or(0)
        })
        .collect();
    let mut lines = vec![line(&head, &widths, colour)];
    for row in rows {
        lines.push(line(&row.cells, &widths, colour));
        lines.extend(row.below.iter().map(|text| format!("  {text}")));
    }
    lines
}

fn line(cells: &[Cell], widths: &[usize], colour: bool) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(&cell.show(colour));
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colour() {
        let row = |name: &str, state: Cell| Row {
            cells: vec![Cell::plain(name), state, Cell::plain("x")],
            below: vec!["why".into()],
        };
        let rows = [
            row("a", Cell::coloured("serving", AnsiColor::Green)),
            row("öäü-b", Cell::plain("off")),
        ];
        let plain = lines(&["NAME", "STATE", "T"], &rows, false);
        assert_eq!(
            plain,
            ["NAME   STATE    T", "a      serving  x", "  why", "öäü-b  off      x", "  why"]
        );
        let coloured = lines(&["NAME", "STATE", "T"], &rows, true);
        assert_eq!(coloured[1], "a      \x1b[32mserving\x1b[0m  x");
    }
}
