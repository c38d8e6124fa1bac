//! The documentation of the configuration keeps up with it.

use localport_core::config::{Rule, Severity};

/// S4.2: every rule stands in the docs, with its severity, meaning and remedy.
#[test]
fn every_rule_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let docs = std::fs::read_to_string(path).unwrap();
    for rule in Rule::ALL {
        let start = format!("| `{}` |", rule.code());
        let row = docs.lines().find(|line| line.starts_with(&start));
        let row =
            row.unwrap_or_else(|| panic!("docs/configuration.md does not list `{}`", rule.code()));
        let cells: Vec<&str> = row.split(" | ").collect();
        let severity = if rule.severity() == Severity::Error { "error" } else { "warning" };
        assert_eq!(cells.len(), 4, "{row}");
        assert_eq!(cells[1], severity, "{row}");
        assert!(cells[2].len() > 10 && cells[3].len() > 10, "{row}");
    }
    let listed =
        docs.lines().filter(|line| line.starts_with("| `") && line.split(" | ").count() == 4);
    let codes: Vec<&str> = listed
        .filter_map(|line| line.split('`').nth(1))
        .filter(|code| code.contains('-'))
        .collect();
    for code in codes {
        assert!(Rule::ALL.iter().any(|rule| rule.code() == code), "`{code}` is no rule");
    }
}
