//! Owns how the forwards of an `ssh_config` are read.

use super::Import;
use super::ssh::{local, through};

/// Reads every `LocalForward` that stands under a plain host name; what ssh says of that
/// host stays in `ssh_config`, where `ssh` finds it.
#[must_use]
pub fn ssh_config(text: &str) -> Import {
    let mut import = Import::default();
    let mut host: Option<String> = None;
    for line in text.lines() {
        let Some((key, value)) = pair(line) else { continue };
        match key.to_ascii_lowercase().as_str() {
            "host" => host = plain(value),
            "match" => host = None,
            "include" => import
                .remark(format!("`Include {value}` is not followed: import that file as well")),
            "localforward" => take(value, host.as_deref(), &mut import),
            "remoteforward" | "dynamicforward" => {
                import.remark(format!("`{key} {value}` is left out: only LocalForward is taken"));
            }
            _ => {}
        }
    }
    import.name_apart(&std::collections::BTreeSet::new());
    import
}

fn take(value: &str, host: Option<&str>, import: &mut Import) {
    let Some(host) = host else {
        import.remark(format!(
            "`LocalForward {value}` is left out: it stands under no plain host name"
        ));
        return;
    };
    let target = through(host);
    let mut words = value.split_whitespace().map(|word| word.trim_matches('"'));
    let forward = match (words.next(), words.next(), words.next()) {
        (Some(here), Some(there), None) => local(&format!("{here}:{there}"), &target, false),
        _ => local(value, &target, false),
    };
    match forward {
        Ok(forward) => import.forwards.push(forward),
        Err(refusal) => {
            import.remark(format!("`LocalForward {value}` is left out: {}", refusal.hint));
        }
    }
}

/// Key and value of a line: `Key value`, `Key=value`, `Key = value`.
fn pair(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (key, value) = line.split_once(|c: char| c == '=' || c.is_whitespace())?;
    Some((key, value.trim().trim_start_matches('=').trim()))
}

/// The first name without a pattern.
fn plain(names: &str) -> Option<String> {
    let is_plain = |name: &&str| !name.contains(['*', '?', '!']);
    names.split_whitespace().map(|name| name.trim_matches('"')).find(is_plain).map(str::to_owned)
}
