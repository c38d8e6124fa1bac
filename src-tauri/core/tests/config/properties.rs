//! What holds for any text at all.

use crate::machine::Machine;
use localport_core::config::{Config, Diagnostic, Source, load};
use proptest::prelude::*;

/// Texts from the signs that mean something to YAML or to references.
fn yaml_like() -> impl Strategy<Value = String> {
    let words = [
        "version: \"1.0\"\n",
        "services:",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "name: a",
        "technology: ssh",
        "local_port: ",
        "15432",
        "remote_port: 80",
        "connection: {host: h}",
        "${X}",
        "${X:1}",
        "${X:-{}}",
        "$${X}",
        "${",
        "}",
        "{",
        "[",
        "]",
        ",",
        ": ",
        ":",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "&a ",
        "*a",
        "<<: *a",
        "<<: ",
        "#",
        " # ${Y}",
        "? ",
        "!!str ",
        "!x ",
        "%YAML 1.1\n",
        "---\n",
        "...\n",
        "\t",
        "\r\n",
        "\r",
        "é",
        "🚀",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\0",
        "\\",
        "\\u0041",
        "\u{f0001}",
        "~",
        "null",
        "health_check: ",
        "{type: http, config: {url: ",
        "defaults:",
        "cluster_contexts:",
        "-",
        "<<",
        "@",
        "`",
        "@x",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..40)
        .prop_map(|words| words.concat())
}

fn machine() -> Machine {
    Machine::bare().var("X", "x: y\n- z")
}

/// Every complaint stands at a place that the text has, in order, and is whole.
fn check_places(text: &str, config: &Config) -> Result<(), TestCaseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = unified.split('\n').collect();
    let mut last = (0, 0);
    for found in &config.diagnostics {
        let Diagnostic { line, column, message, hint, .. } = found;
        let content = lines.get(*line as usize - 1);
        prop_assert!(content.is_some(), "{found} is below the end of {text:?}");
        let width = content.map_or(0, |content| content.chars().count());
        prop_assert!((1..=width + 1).contains(&(*column as usize)), "{found} is beside {text:?}");
        prop_assert!(!message.is_empty() && !hint.is_empty());
        prop_assert!(last <= (*line, *column), "{found} is out of order");
        last = (*line, *column);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// S4.2: no text makes reading panic, and every place lies in the text.
    #[test]
    fn any_yaml_like_text_is_read_or_complained_of(text in yaml_like()) {
        let config = machine().load(&text);
        prop_assert!(!config.forwards.is_empty() || !config.diagnostics.is_empty() || text.contains("services"));
        check_places(&text, &config)?;
    }

    #[test]
    fn any_text_is_read_or_complained_of(text in any::<String>()) {
        check_places(&text, &machine().load(&text))?;
    }

    /// Bytes reach reading as text or as a complaint about their encoding.
    #[test]
    fn any_bytes_are_text_or_a_complaint(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match String::from_utf8(bytes) {
            Ok(text) => check_places(&text, &machine().load(&text))?,
            Err(error) => {
                let found = Diagnostic::not_utf8(std::path::Path::new("a"), error.as_bytes());
                prop_assert!(found.line >= 1 && found.column >= 1);
            }
        }
    }

    /// A value never becomes a key, a service, or anything but the one value it stands for.
    #[test]
    fn a_variable_never_adds_a_key(value in "[ -~\n\t\"'é]{0,30}") {
        let text = "version: \"1.0\"\nservices:\n  - name: a\n    technology: ssh\n    local_port: 15432\n    \
                    remote_port: 80\n    description: ${V}\n    tags: [${V}, \"${V}\", '${V}']\n    \
                    connection: {host: h, password: ${V}}\n";
        let config = Machine::bare().var("V", &value).load(text);
        prop_assert_eq!(&config.diagnostics, &vec![]);
        prop_assert_eq!(config.forwards.len(), 1);
        let spec = &config.forwards[0];
        prop_assert_eq!(&spec.tags, &vec![value.clone(); 3]);
        let none = value.is_empty() || ["~", "null", "Null", "NULL"].contains(&value.as_str());
        prop_assert_eq!(spec.description.clone(), (!none).then_some(value));
    }

    /// What is shown loads again as the same, whatever its texts hold.
    #[test]
    fn any_shown_text_loads_again(value in "\\PC{0,30}") {
        let text = "version: \"1.0\"\nservices:\n  - {name: a, technology: ssh, local_port: 15432, \
                    remote_port: 80, connection: {host: h}, description: \"x${V}\", tags: [\"${V}\"]}\n";
        let machine = Machine::bare().var("V", &value);
        let config = machine.load(text);
        let shown = config.show_yaml();
        let again = load(&[Source::new("a.yaml", shown.clone())], &machine);
        prop_assert_eq!(&again.diagnostics, &vec![], "{}", shown);
        prop_assert_eq!(again.forwards, config.forwards);
    }
}
