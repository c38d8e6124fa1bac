//! Malformed configurations in `tests/corpus`, each beside the complaints it
//! must get: a line `severity code line:column` for each, in `NAME.expect`.

use crate::machine::Machine;
use localport_core::config::{Diagnostic, FileState, Severity, Source, load};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// S4.2 asks for forty.
const FEWEST: usize = 40;

fn machine() -> Machine {
    Machine::bare()
        .var("PORT", "15432")
        .var("WORD", "word")
        .var("EMPTY", "")
        .var("LINES", "a\nb: c")
        .file("/home/u/.ssh/id", FileState::Readable)
        .file("/home/u/.ssh/locked", FileState::Unreadable)
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

fn complaints(path: &Path) -> (String, Vec<Diagnostic>) {
    let bytes = std::fs::read(path).unwrap();
    let name = PathBuf::from(path.file_name().unwrap());
    match String::from_utf8(bytes) {
        Ok(text) => {
            let config = load(&[Source::new(name, text.clone())], &machine());
            (text, config.diagnostics)
        }
        Err(error) => {
            let found = Diagnostic::not_utf8(&name, error.as_bytes());
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), vec![found])
        }
    }
}

fn line(found: &Diagnostic) -> String {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{severity} {} {}:{}\n", found.code, found.line, found.column)
}

/// S4.1, S4.2: no panic, and each problem with its rule and its place.
#[test]
fn every_malformed_file_gets_exactly_the_complaints_it_must() {
    let files = &files();
    assert!(files.len() >= FEWEST, "only {} files", files.len());
    let mut failures = String::new();
    for path in files {
        let (_, found) = complaints(path);
        let expected = std::fs::read_to_string(path.with_extension("expect")).unwrap_or_default();
        let actual: String = found.iter().map(line).collect();
        if actual != expected || found.is_empty() {
            let all: String = found.iter().map(|found| format!("{found}\n")).collect();
            failures += &format!("--- {}\nexpected\n{expected}got\n{actual}{all}", path.display());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// S4.2: a sentence without a period, a hint to act on, a place in the file.
#[test]
fn every_complaint_is_a_sentence_with_its_place_and_a_hint() {
    for path in &files() {
        let (text, found) = complaints(path);
        let lines = text.matches(['\n', '\r']).count() + 1;
        for found in found {
            for sentence in [&found.message, &found.hint] {
                assert!(sentence.len() > 10 && !sentence.ends_with('.'), "{found}");
                assert!(sentence.starts_with(|c: char| c == '`' || c.is_uppercase()), "{found}");
                assert_eq!(sentence.matches('`').count() % 2, 0, "{found}");
                assert!(!sentence.chars().any(char::is_control), "{found}");
            }
            assert!(
                found.line >= 1 && found.line as usize <= lines && found.column >= 1,
                "{found}"
            );
        }
    }
}

/// Passwords and header values stay out of every sentence.
#[test]
fn no_complaint_repeats_a_secret() {
    let (text, found) = complaints(
        &files().into_iter().find(|path| path.ends_with("secrets-of-wrong-type.yaml")).unwrap(),
    );
    assert_eq!(text.matches("hunter2").count(), 4);
    assert_eq!(found.len(), 4);
    for found in found {
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
}

/// The corpus breaks every rule that a text alone can break.
#[test]
fn the_corpus_breaks_every_rule() {
    use localport_core::config::Rule;
    let found = files().into_iter().flat_map(|path| complaints(&path).1).map(|found| found.code);
    let broken: BTreeSet<String> = found.collect();
    let missing: Vec<&str> =
        Rule::ALL.iter().map(|rule| rule.code()).filter(|code| !broken.contains(*code)).collect();
    // These need a file that cannot be read, or one of a megabyte.
    assert_eq!(
        missing,
        ["unreadable-file", "file-too-large", "too-many-variables", "more-problems"]
    );
}
