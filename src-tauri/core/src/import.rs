//! Owns how forwards written for other tools become ours: command lines of `kubectl` and
//! `ssh`, `ssh_config`, kftray's export.
//!
//! Receives texts, emits forwards and a remark for everything that was not taken; runs
//! nothing and opens nothing.

mod kftray;
mod kubectl;
mod spec;
mod ssh;
mod ssh_config;

pub use kftray::kftray;
pub use ssh_config::ssh_config;

use crate::config::{Config, ForwardSpec};
use std::collections::BTreeSet;
use std::fmt;

/// What was read, and what of it could not be taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    /// The forwards, in the order of the text, each with a name of its own.
    pub forwards: Vec<ForwardSpec>,
    /// What was left out or is different here, each once, in the order of the text.
    pub remarks: Vec<String>,
}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One sentence with the fact, literals in backticks, no final period.
    pub sentence: String,
    /// What the person can do about it.
    pub hint: String,
}

impl Refusal {
    fn new(sentence: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), hint: hint.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// Reads a command line as it is typed, quotes and all.
///
/// # Errors
/// When it is neither `kubectl port-forward` nor `ssh` with a forward.
pub fn command_text(text: &str) -> Result<Import, Refusal> {
    let joined = text.replace("\\\n", " ");
    let words = shlex::split(&joined).ok_or_else(|| {
        Refusal::new("a quote in the command is not closed", "copy the whole command line")
    })?;
    command(&words)
}

/// Reads a command line that a shell has already split into words.
///
/// # Errors
/// When it is neither `kubectl port-forward` nor `ssh` with a forward.
pub fn command(words: &[String]) -> Result<Import, Refusal> {
    let mut import = Import::default();
    let mut rest = words.iter().map(String::as_str);
    let program = loop {
        let Some(word) = rest.next() else {
            return Err(Refusal::new("there is no command", USE));
        };
        if let Some((name, _)) = word.split_once('=').filter(|(name, _)| is_variable(name)) {
            import.remark(format!("`{name}` is left out: set it where LocalPort starts"));
        } else if word != "sudo" && word != "exec" && word != "env" && word != "$" {
            break program_name(word);
        }
    };
    let rest: Vec<&str> = rest.collect();
    match program {
        "kubectl" | "oc" | "k" => kubectl::read(&rest, &mut import)?,
        "ssh" | "autossh" | "sshpass" => ssh::read(program, &rest, &mut import)?,
        other => return Err(Refusal::new(format!("`{other}` is not known"), USE)),
    }
    import.name_apart(&BTreeSet::new());
    Ok(import)
}

const USE: &str = "give `kubectl port-forward …` or `ssh -L …`";

/// `/usr/bin/ssh` and `kubectl.exe` are known as well.
fn program_name(word: &str) -> &str {
    let name = word.rsplit(['/', '\\']).next().unwrap_or(word);
    name.strip_suffix(".exe").unwrap_or(name)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

impl Import {
    /// Gives every forward a name that neither another one nor `taken` has.
    pub fn name_apart(&mut self, taken: &BTreeSet<String>) {
        let mut used = taken.clone();
        for forward in &mut self.forwards {
            let port = format!("{}-{}", forward.name, forward.local_port);
            let numbered = (2..).map(|number| format!("{port}-{number}"));
            let mut names = [forward.name.clone(), port.clone()].into_iter().chain(numbered);
            if let Some(free) = names.find(|name| !used.contains(name)) {
                forward.name = free;
            }
            used.insert(forward.name.clone());
        }
    }

    /// The forwards as a configuration that can be loaded.
    #[must_use]
    pub fn yaml(&self) -> String {
        Config { forwards: self.forwards.clone(), ..Config::default() }.brief_yaml()
    }

    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }
}

#[cfg(test)]
mod tests;
