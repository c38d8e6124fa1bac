//! Owns `config`: what the files say, and what is wrong with them. Needs no host.

use crate::exit::{CommandError, Exit};
use crate::output::{Output, paint};
use anstyle::AnsiColor;
use localport_core::config::{Diagnostic, Severity};
use localport_engine::home::Home;
use localport_engine::host::configuration::{self, Loaded};
use serde_json::json;
use std::path::PathBuf;

/// The file given to the command, else those given with `--config`, else the one found.
fn load(home: &Home, file: Option<PathBuf>, files: Vec<PathBuf>) -> Result<Loaded, CommandError> {
    let named = file.map_or(files, |file| vec![file]);
    let loaded = configuration::load(home, &named);
    if loaded.config.files.is_empty() {
        let hint = "`localport config path` shows where it is looked for";
        let sentence = "there is no configuration";
        return Err(CommandError::new(Exit::Usage, "no-configuration", sentence, hint));
    }
    Ok(loaded)
}

/// `localport config check`
pub(crate) fn check(
    home: &Home,
    file: Option<PathBuf>,
    files: Vec<PathBuf>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let loaded = load(home, file, files)?;
    let complaints = &loaded.config.diagnostics;
    let errors = complaints.iter().filter(|c| c.severity == Severity::Error).count();
    if output.json() {
        output.value(complaints)?;
    } else {
        for complaint in complaints {
            output.line(words(complaint, output.colour()))?;
        }
        output.line(summary(&loaded, errors))?;
    }
    Ok(if errors > 0 { Exit::Usage } else { Exit::Done })
}

fn summary(loaded: &Loaded, errors: usize) -> String {
    let warnings = loaded.config.diagnostics.len() - errors;
    let files: Vec<String> =
        loaded.config.files.iter().map(|file| file.display().to_string()).collect();
    let forwards = loaded.config.forwards.len();
    format!(
        "{}: {}, {}, {} can run",
        files.join(", "),
        count(errors, "error"),
        count(warnings, "warning"),
        count(forwards, "forward"),
    )
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The complaint as compilers write it, with its severity in colour.
pub(super) fn words(complaint: &Diagnostic, colour: bool) -> String {
    let (word, hue) = match complaint.severity {
        Severity::Error => ("error", AnsiColor::Red),
        Severity::Warning => ("warning", AnsiColor::Yellow),
    };
    let plain = complaint.to_string();
    plain.replacen(&format!(" {word}: "), &format!(" {}: ", paint(colour, hue, word)), 1)
}

/// `localport config show`: what it amounts to, without its secrets.
pub(crate) fn show(
    home: &Home,
    file: Option<PathBuf>,
    files: Vec<PathBuf>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let loaded = load(home, file, files)?;
    let config = &loaded.config;
    if output.json() {
        output.value(&config.show())?;
    } else {
        output.line(config.show_yaml().trim_end())?;
    }
    let wrong = config.diagnostics.iter().any(|c| c.severity == Severity::Error);
    if wrong {
        output.note("what has errors is left out: `localport config check` names them");
    }
    Ok(if wrong { Exit::Usage } else { Exit::Done })
}

/// `localport config path`
pub(crate) fn path(
    home: &Home,
    files: Vec<PathBuf>,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let places = if files.is_empty() { configuration::places(home) } else { files };
    let used = configuration::found(&places);
    if output.json() {
        output.value(&json!({ "used": used, "searched": places }))?;
        return Ok(Exit::Done);
    }
    for place in &places {
        let mark = if Some(place.as_path()) == used { "→" } else { " " };
        output.line(format!("{mark} {}", place.display()))?;
    }
    if used.is_none() {
        output.note("none of these files exists");
    }
    Ok(Exit::Done)
}
