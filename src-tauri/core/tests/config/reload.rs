//! What becomes of a configuration that is read while another one is in force, as the
//! table in the documentation says.

use crate::machine::Machine;
use localport_core::config::reload::{Verdict, Who, judge};
use localport_core::snapshot::{Pending, PendingWhy};
use std::path::PathBuf;

const GOOD: &str = "version: \"1.0\"\nservices:\n  - {name: a, technology: ssh, \
    local_port: 15001, remote_port: 1, connection: {host: h}}\n";

fn text(read: &str) -> String {
    match read {
        "valid" => GOOD.to_owned(),
        "with warnings" => format!("{GOOD}colour: blue\n"),
        "with an error" => GOOD.replace("15001", "99999"),
        "without a service" => "version: \"1.0\"\nservices: []\n".to_owned(),
        "no file" => String::new(),
        other => panic!("the table has a row for {other:?}, which is no case"),
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Apply => "applied",
        Verdict::Keep => "kept until the end is called off",
        Verdict::Leave(PendingWhy::Invalid | PendingWhy::Empty) => "nothing changes",
        Verdict::Leave(_) => "another reason",
    }
}

/// S4.3, S4.5: the table in the documentation is what is decided, row by row.
#[test]
fn s4_5_the_documented_table_is_what_is_decided() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let table = docs.split("<!-- reload -->").nth(1).expect("the table is marked");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 5, "{table}");
    for row in rows {
        let mut config = Machine::bare().load(&text(row[0]));
        if row[0] == "no file" {
            config.files = Vec::<PathBuf>::new();
            config.diagnostics.clear();
        }
        let cases = [(Who::File, false), (Who::Command, false), (Who::File, true)];
        for (said, (who, ending)) in row[1..].iter().zip(cases) {
            assert_eq!(*said, words(judge(&config, who, ending)), "{row:?} {who:?} {ending}");
        }
        assert_eq!(judge(&config, Who::Hup, false), judge(&config, Who::Command, false));
    }
}

#[test]
fn what_is_not_in_force_is_said_with_what_to_do() {
    let config = Machine::bare().load(&text("with an error"));
    let said = Pending::of(PendingWhy::Invalid, &config, "");
    assert_eq!(said.sentence, "`a.yaml` has 1 error; what ran before goes on");
    for why in [PendingWhy::Invalid, PendingWhy::Empty, PendingWhy::Ending, PendingWhy::Refused] {
        let said = Pending::of(why, &config, "it is busy");
        assert!(!said.sentence.ends_with('.') && !said.hint.is_empty(), "{said:?}");
    }
}
