//! Owns `import`: forwards written for other tools, as a configuration. Needs no host.

use crate::args::{Import as Arguments, ImportFrom};
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::config::{Config, ForwardSpec};
use localport_core::import::{self, Import, Refusal};
use localport_engine::home::Home;
use localport_engine::host::configuration;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// An export larger than this is none.
const LARGEST: u64 = 8 << 20;

/// Reads the forwards, and prints them or writes a new file.
pub(crate) fn run(
    home: &Home,
    files: &[PathBuf],
    arguments: Arguments,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let mut found = read(home, &arguments.from)?;
    if found.forwards.is_empty() {
        let sentence = "nothing to import was found";
        notes(&found, output);
        return Err(CommandError::new(Exit::Failure, "nothing-to-import", sentence, ""));
    }
    let present = configuration::load(home, files).config;
    let names: BTreeSet<String> = present.forwards.iter().map(|it| it.name.clone()).collect();
    found.name_apart(&names);
    found.remarks.extend(taken(&found, &present));
    match &arguments.to {
        Some(path) => write(path, &found.yaml())?,
        None if output.json() => {}
        None => output.line(found.yaml().trim_end())?,
    }
    if output.json() {
        let forwards: Vec<&str> = found.forwards.iter().map(|it| it.name.as_str()).collect();
        output.value(&json!({
            "forwards": forwards,
            "configuration": found.yaml(),
            "remarks": found.remarks,
            "file": arguments.to,
        }))?;
    }
    notes(&found, output);
    Ok(Exit::Done)
}

fn notes(found: &Import, output: &mut Output) {
    if !output.json() {
        for remark in &found.remarks {
            output.note(remark);
        }
    }
}

fn read(home: &Home, from: &ImportFrom) -> Result<Import, CommandError> {
    let found = match from {
        ImportFrom::Command { words } => match words.as_slice() {
            // In quotes, as it was copied.
            [line] => import::command_text(line),
            words => import::command(words),
        },
        ImportFrom::SshConfig { file } => {
            let path = match file {
                Some(path) => path.clone(),
                None => home.user.join(".ssh/config"),
            };
            Ok(import::ssh_config(&text(&path)?))
        }
        ImportFrom::Kftray { file } => import::kftray(&text(file)?),
    };
    found.map_err(|Refusal { sentence, hint }| {
        CommandError::new(Exit::Usage, "not-imported", sentence, &hint)
    })
}

/// The text of a file, or of the standard input for `-`.
fn text(path: &Path) -> Result<String, CommandError> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        if path == Path::new("-") {
            io::stdin().lock().take(LARGEST).read_to_string(&mut text)?;
        } else {
            File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    read().map_err(|error| {
        let sentence = format!("`{}` cannot be read: {error}", path.display());
        CommandError::new(Exit::Usage, "not-readable", sentence, "name another file")
    })
}

/// A file that is there is a person's own, and stays as it is.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let created = File::create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
            // Half a file is none; that it stays is the lesser complaint.
            let _ = fs::remove_file(path);
        })
    });
    created.map_err(|error| {
        let sentence = format!("`{}` cannot be written: {error}", path.display());
        let hint = if error.kind() == io::ErrorKind::AlreadyExists {
            "name a file that does not exist, or copy what is printed without `--to`"
        } else {
            "name another file"
        };
        CommandError::new(Exit::Failure, "not-written", sentence, hint)
    })
}

/// Ports that a forward of the present configuration has, or that two imported ones share.
fn taken(found: &Import, present: &Config) -> Vec<String> {
    let mut remarks = Vec::new();
    for (at, forward) in found.forwards.iter().enumerate() {
        let same = |other: &&ForwardSpec| other.local_port == forward.local_port;
        let earlier = found.forwards.iter().take(at);
        if let Some(other) = present.forwards.iter().chain(earlier).find(same) {
            remarks.push(format!(
                "`{}` has the local port {} of `{}`: give it another one",
                forward.name, forward.local_port, other.name
            ));
        }
    }
    remarks
}
