//! Owns the words of sentences: the nearest known one, lists, capitals.

/// The candidate that `word` is probably a slip of.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    let scored = candidates.map(|candidate| {
        let plain = candidate.to_lowercase().replace('-', "_");
        (strsim::damerau_levenshtein(&word, &plain), candidate)
    });
    let (distance, near) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (near.chars().count() / 3).max(1)).then_some(near)
}

/// Words as a sentence lists them.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Begins a sentence with `text`.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["local_port", "remote_port", "name", "tags"];
        let near = |word| nearest(word, known.into_iter());
        assert_eq!(near("localport"), Some("local_port"));
        assert_eq!(near("local-port"), Some("local_port"));
        assert_eq!(near("nmae"), Some("name"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn lists_words_as_people_do() {
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
