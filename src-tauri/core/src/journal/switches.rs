//! Owns what a person switched against the configuration.

use super::Entry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a person wants of one forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Whether it is to run.
    pub on: bool,
    /// What the configuration said when the person switched; once it says something
    /// else, the configuration is the later word.
    pub enabled: bool,
    /// Whether it is off because it was drained, so that a resume brings it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drained: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The forwards that a person switched, by name. One that stands as its configuration
/// says is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    by_name: BTreeMap<String, Switch>,
}

impl Switches {
    /// Whether `forward` is to run, which its configuration says is `enabled`.
    #[must_use]
    pub fn wanted(&self, forward: &str, enabled: bool) -> bool {
        match self.by_name.get(forward) {
            Some(switch) if switch.enabled == enabled => switch.on,
            _ => enabled,
        }
    }

    /// A person switches `forward`, which its configuration says is `enabled`. The entry
    /// to write, if that changes anything.
    pub fn switch(&mut self, forward: &str, on: bool, enabled: bool) -> Option<Entry> {
        if on == enabled {
            return self.forget(forward);
        }
        self.put(forward, Switch { on, enabled, drained: false })
    }

    /// A person drains `forward`, which its configuration says is `enabled`: off until a
    /// resume. The entry to write, if it was on.
    pub fn drain(&mut self, forward: &str, enabled: bool) -> Option<Entry> {
        let is_on = self.wanted(forward, enabled);
        is_on.then(|| self.put(forward, Switch { on: false, enabled, drained: true })).flatten()
    }

    /// A person resumes `forward`. The entry to write, if it was drained.
    pub fn resume(&mut self, forward: &str, enabled: bool) -> Option<Entry> {
        self.is_drained(forward, enabled).then(|| self.switch(forward, true, enabled)).flatten()
    }

    /// Whether `forward`, which its configuration says is `enabled`, is off by a drain.
    #[must_use]
    pub fn is_drained(&self, forward: &str, enabled: bool) -> bool {
        let switch = self.by_name.get(forward);
        switch.is_some_and(|switch| switch.drained && switch.enabled == enabled)
    }

    fn put(&mut self, forward: &str, switch: Switch) -> Option<Entry> {
        let before = self.by_name.insert(forward.to_owned(), switch);
        (before != Some(switch)).then(|| Entry::Switched { forward: forward.to_owned(), switch })
    }

    /// `configured` is now what the configuration says: switches that were relative to
    /// something else are forgotten. The entries to write.
    pub fn settle<'a>(
        &mut self,
        configured: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Vec<Entry> {
        let stale = |(forward, enabled): (&'a str, bool)| {
            self.by_name
                .get(forward)
                .is_some_and(|switch| switch.enabled != enabled)
                .then_some(forward)
        };
        let stale: Vec<&str> = configured.into_iter().filter_map(stale).collect();
        stale.into_iter().filter_map(|forward| self.forget(forward)).collect()
    }

    pub(super) fn insert(&mut self, forward: String, switch: Switch) {
        self.by_name.insert(forward, switch);
    }

    pub(super) fn remove(&mut self, forward: &str) {
        self.by_name.remove(forward);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Switch)> {
        self.by_name.iter()
    }

    fn forget(&mut self, forward: &str) -> Option<Entry> {
        self.by_name.remove(forward)?;
        Some(Entry::SwitchForgotten { forward: forward.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switched(on: bool, enabled: bool) -> Entry {
        Entry::Switched { forward: "a".into(), switch: Switch { on, enabled, drained: false } }
    }

    /// S6.5: only what differs from the configuration is remembered; the same switch
    /// back forgets it.
    #[test]
    fn s6_5_only_a_difference_is_remembered() {
        let forgotten = Entry::SwitchForgotten { forward: "a".into() };
        let mut switches = Switches::default();
        assert_eq!(switches.switch("a", true, true), None);
        assert_eq!(switches.switch("a", false, true), Some(switched(false, true)));
        assert_eq!(switches.switch("a", false, true), None);
        assert!(!switches.wanted("a", true));
        assert!(switches.wanted("b", true));
        assert_eq!(switches.switch("a", true, true), Some(forgotten.clone()));
        assert!(switches.wanted("a", true));
        assert_eq!(switches.switch("a", true, false), Some(switched(true, false)));
        assert!(switches.wanted("a", false));
        assert_eq!(switches.switch("a", false, false), Some(forgotten));
        assert_eq!(switches, Switches::default());
    }

    /// S8.3: a drain is remembered as one until a resume, a start, a stop or the
    /// configuration takes it away; what is off is not drained.
    #[test]
    fn s8_3_a_drain_is_remembered_until_something_later() {
        let mut switches = Switches::default();
        assert!(switches.drain("a", true).is_some());
        assert_eq!(switches.drain("a", true), None, "drained already");
        assert!(switches.is_drained("a", true) && !switches.wanted("a", true));
        assert!(!switches.is_drained("a", false) && !switches.wanted("a", false));
        assert!(switches.resume("a", true).is_some());
        assert_eq!(switches, Switches::default());
        assert_eq!(switches.resume("a", true), None, "nothing was drained");
        assert_eq!(switches.drain("a", false), None, "off is not drained");
        switches.drain("a", true);
        assert_eq!(switches.switch("a", false, true), Some(switched(false, true)));
        assert!(!switches.is_drained("a", true));
        // On against the configuration, drained, and resumed.
        switches.switch("b", true, false);
        assert!(switches.drain("b", false).is_some() && !switches.wanted("b", false));
        assert!(switches.resume("b", false).is_some() && switches.wanted("b", false));
    }

    /// S6.5: a configuration that says something new is the later word, also when it
    /// changes back afterwards.
    #[test]
    fn s6_5_a_changed_configuration_is_the_later_word() {
        let mut switches = Switches::default();
        switches.switch("a", true, false);
        switches.switch("b", false, true);
        assert_eq!(switches.settle([("a", false), ("b", true)]), []);
        assert!(switches.wanted("a", true), "as the new configuration says");
        let forgotten = Entry::SwitchForgotten { forward: "a".into() };
        assert_eq!(switches.settle([("a", true), ("b", true)]), [forgotten]);
        assert!(!switches.wanted("a", false));
        assert!(!switches.wanted("b", true));
    }
}
