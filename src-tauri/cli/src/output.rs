//! Owns what a command prints: results on standard output, the rest on standard error,
//! colour only for people who see it.

pub(crate) mod table;

use crate::args::Arguments;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where a command prints.
pub(crate) struct Output {
    json: bool,
    colour: bool,
    colour_of_errors: bool,
}

impl Output {
    /// As the arguments, the environment and the terminal say.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        // https://no-color.org: set and not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
            || arguments.global.no_color;
        Self {
            json: arguments.global.wants_json(),
            colour: !unwanted && io::stdout().is_terminal(),
            colour_of_errors: !unwanted && io::stderr().is_terminal(),
        }
    }

    /// Whether programs read the output.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether people see the output on a terminal that shows colour.
    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// The same for standard error.
    pub(crate) fn colour_of_errors(&self) -> bool {
        self.colour_of_errors
    }

    /// Whether people see standard output and standard error on a terminal.
    pub(crate) fn sees_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal() && io::stderr().is_terminal()
    }

    /// Prints a line of the result.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.as_ref())?;
        stdout.flush()
    }

    /// Prints the result for programs, readable for people too.
    pub(crate) fn value<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        self.line(serde_json::to_string_pretty(value)?)
    }

    /// Prints one of many results, on one line.
    pub(crate) fn record<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// Says something beside the result. Nobody has to be there to read it.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// Says what went wrong and what to do.
    pub(crate) fn error(&mut self, sentence: &str, hint: &str) {
        let red = paint(self.colour_of_errors, AnsiColor::Red, "error:");
        self.note(format!("{red} {sentence}"));
        if !hint.is_empty() {
            self.note(format!("  hint: {hint}"));
        }
    }

    /// Clears the terminal for the next picture of `--watch`.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if stdout.is_terminal() {
            write!(stdout, "\x1b[H\x1b[2J")?;
        }
        Ok(())
    }
}

/// `text` in `colour`, if it is wanted.
pub(crate) fn paint(wanted: bool, colour: AnsiColor, text: &str) -> String {
    if !wanted {
        return text.to_owned();
    }
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

/// Bytes in units of 1,024, with at most three digits: `0 B`, `12.3 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_024.0;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let name = UNITS[unit];
    if value < 99.95 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

/// A duration in its largest whole unit: `5 s`, `3 min`, `2 h`, `4 d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_at_most() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (101_990, "99.6 KiB"),
            (102_400, "100 KiB"),
            (1_023_999, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!(
            [age(0), age(119), age(120), age(7_200), age(200_000)],
            ["0 s", "119 s", "2 min", "2 h", "2 d"]
        );
    }
}
