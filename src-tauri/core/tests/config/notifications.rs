//! `notifications`: read, shown and compared.

use crate::machine::Machine;
use localport_core::config::{Config, Source, diff, load};
use localport_core::notify::{Quiet, Settings};
use std::time::Duration;

fn read(block: &str) -> Config {
    Machine::bare().load(&format!("version: \"1.0\"\n{block}services: []\n"))
}

/// D4: without the block a person is told; each key does what it says.
#[test]
fn d4_the_settings_are_read() {
    assert_eq!(read("").notifications, Settings::default());
    let config = read(
        "notifications:\n  enabled: no\n  debounce: 1m\n  quiet_hours: 22:00-07:00\n  \
         muted: [staging, bastion]\n",
    );
    assert_eq!(config.diagnostics, vec![]);
    let expected = Settings {
        enabled: false,
        debounce: Duration::from_secs(60),
        quiet: Quiet::parse("22:00-07:00"),
        muted: ["bastion".to_owned(), "staging".to_owned()].into(),
    };
    assert_eq!(config.notifications, expected);
    // Shown as it would be written, and that reads the same again.
    let again = Machine::bare().load(&config.show_yaml());
    assert_eq!(again.notifications, expected);
    assert_eq!(again.diagnostics, vec![]);
}

/// D4: of several files the later one wins, key by key.
#[test]
fn d4_a_later_file_wins_key_by_key() {
    let text = |block: &str| format!("version: \"1.0\"\nnotifications: {block}\nservices: []\n");
    let sources = [
        Source::new("a", text("{debounce: 30, muted: [staging]}")),
        Source::new("b", text("{quiet_hours: \"9:00-10:00\", debounce: 10}")),
    ];
    let settings = load(&sources, &Machine::bare()).notifications;
    assert_eq!(settings.debounce, Duration::from_secs(10));
    assert!(settings.muted.contains("staging"));
    assert_eq!(settings.quiet, Quiet::parse("09:00-10:00"));
}

/// S4.3: a change of the settings alone is a change, and moves no forward.
#[test]
fn s4_3_a_change_of_the_settings_is_one() {
    let plan = diff(&read(""), &read("notifications: {enabled: false}\n"));
    assert!(plan.general && !plan.is_empty());
    assert!(plan.changed.is_empty() && plan.added.is_empty());
}
