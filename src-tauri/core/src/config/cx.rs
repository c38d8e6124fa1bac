//! Owns what is carried through the reading of a configuration: the machine's
//! answers going in, the complaints coming out.

use super::tree::{Fallback, Kind, Node, Piece, Place, Variable};
use super::{Diagnostic, Env, Rule, Severity, Source};
use std::collections::BTreeSet;

/// Most complaints about all files; beyond it nobody reads on.
const MAX_COMPLAINTS: usize = 1_000;
/// Most characters of a value that a message repeats.
const MAX_SHOWN: usize = 60;

/// Complaints found so far and whom to ask.
pub(super) struct Cx<'a> {
    pub(super) env: &'a dyn Env,
    pub(super) sources: &'a [Source],
    found: Vec<(Place, Rule, Diagnostic)>,
}

/// A scalar with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Written without quotes.
    pub(super) plain: bool,
}

impl Text {
    /// Whether YAML reads it as nothing.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl<'a> Cx<'a> {
    pub(super) fn new(sources: &'a [Source], env: &'a dyn Env) -> Self {
        Self { env, sources, found: Vec::new() }
    }

    /// Adds a complaint, with the severity of its rule.
    pub(super) fn report(
        &mut self,
        rule: Rule,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let file = self.sources.get(place.source).map(|source| source.file.display().to_string());
        let diagnostic = Diagnostic {
            severity: rule.severity(),
            code: rule.code().to_owned(),
            file: file.unwrap_or_default(),
            line: place.line,
            column: place.column,
            message: message.into(),
            hint: hint.into(),
        };
        self.found.push((place, rule, diagnostic));
    }

    /// A mark of now, for [`Self::errors_since`] and [`Self::soften`].
    pub(super) fn mark(&self) -> usize {
        self.found.len()
    }

    /// Whether an error was added since `mark`.
    pub(super) fn errors_since(&self, mark: usize) -> bool {
        self.found[mark..].iter().any(|(_, _, found)| found.severity == Severity::Error)
    }

    /// Makes warnings of the errors since `mark`.
    pub(super) fn soften(&mut self, mark: usize) {
        for (_, _, found) in &mut self.found[mark..] {
            found.severity = Severity::Warning;
        }
    }

    /// Every complaint once, in the order of file, line and column.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(place, ..)| *place);
        let mut seen = BTreeSet::new();
        self.found.retain(|(place, rule, found)| {
            seen.insert((*place, rule.code(), found.severity, found.message.clone()))
        });
        if let Some((place, ..)) = self.found.get(MAX_COMPLAINTS).cloned() {
            let more = self.found.len() - MAX_COMPLAINTS;
            self.found.truncate(MAX_COMPLAINTS);
            let message = format!("There are `{more}` more problems from here on");
            self.report(Rule::MoreProblems, place, message, "Mend the ones above first");
        }
        self.found.into_iter().map(|(.., found)| found).collect()
    }

    /// The text of a scalar with its variables replaced; none, and a complaint
    /// for each, when some have no value. None for lists and maps.
    pub(super) fn text(&mut self, node: &Node) -> Option<Text> {
        let Kind::Scalar(scalar) = &node.kind else { return None };
        let mut text = Some(String::new());
        for piece in &scalar.pieces {
            let part = match piece {
                Piece::Text(part) => {
                    self.check_leftover(node.place, part);
                    Some(part.clone())
                }
                Piece::Literal(part) => Some(part.clone()),
                Piece::Variable(variable) => self.value(variable),
            };
            text = text.zip(part).map(|(text, part)| text + &part);
        }
        text.map(|text| Text { text, plain: scalar.plain })
    }

    fn value(&mut self, variable: &Variable) -> Option<String> {
        let name = shown(&variable.name);
        if !is_variable_name(&variable.name) {
            let message = format!("`${{{name}}}` names no variable");
            let hint = "Write `${NAME}` or `${NAME:-default}`, or `$${` for a literal `${`";
            self.report(Rule::BadVariable, variable.place, message, hint);
            return None;
        }
        self.check_default(variable);
        let set = self.env.var(&variable.name);
        let value = match &variable.fallback {
            Fallback::None => set,
            Fallback::Unset(default) => set.or_else(|| Some(default.clone())),
            Fallback::UnsetOrEmpty(default) => {
                set.filter(|value| !value.is_empty()).or_else(|| Some(default.clone()))
            }
        };
        if value.is_none() {
            let message = format!("The variable `{name}` is not set and has no default");
            let hint = missing_hint(&variable.name);
            self.report(Rule::MissingVariable, variable.place, message, hint);
        }
        value
    }

    fn check_default(&mut self, variable: &Variable) {
        let (Fallback::Unset(default) | Fallback::UnsetOrEmpty(default)) = &variable.fallback
        else {
            return;
        };
        let name = shown(&variable.name);
        if default.contains("${") {
            let message = format!("The default of `{name}` refers to another variable");
            let hint = "Give it a plain default: references cannot be nested";
            self.report(Rule::BadVariable, variable.place, message, hint);
        }
        let shell = matches!(&variable.fallback, Fallback::Unset(default)
            if default.starts_with(['=', '?', '+']));
        if shell {
            let sign = &default[..1];
            let message = format!("`${{{name}:{sign}…}}` has no special meaning here");
            let hint = format!(
                "Write `${{{name}:-default}}` for a default; as it stands the default begins with `{sign}`"
            );
            self.report(Rule::VariableSyntax, variable.place, message, hint);
        }
    }

    fn check_leftover(&mut self, place: Place, text: &str) {
        let open = text.rfind("${").is_some_and(|at| !text[at..].contains('}'));
        if open {
            let hint = "Close it with `}` on the same line, or write `$${` for a literal `${`";
            self.report(Rule::VariableSyntax, place, "A `${` is not closed", hint);
        }
    }
}

/// A value as a message shows it: short, on one line, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_SHOWN).map(visible).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// A sentence of another program, in one line.
pub(super) fn quoted(text: &str) -> String {
    text.chars().map(visible).collect()
}

fn visible(c: char) -> char {
    match c {
        '`' => '\'',
        // Also the marks that turn the direction of writing, which can hide what a line says.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn missing_hint(name: &str) -> String {
    match name.split_once('-') {
        Some((start, default)) if is_variable_name(start) => {
            format!("Set it, or write `${{{start}:-{default}}}` if `{default}` is meant as default")
        }
        _ => format!("Set it where LocalPort is started, or write `${{{name}:-default}}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_short_and_harmless() {
        assert_eq!(shown("a`b\u{1b}[31m\n"), "a'b\u{fffd}[31m\u{fffd}");
        assert_eq!(shown(&"x".repeat(61)).chars().count(), 61);
        assert!(shown(&"x".repeat(61)).ends_with('…'));
    }
}
