//! Owns `daemon`: how long the stages of an end may take.

use super::cx::Cx;
use super::fields::Fields;
use crate::shutdown::{Budgets, Stage};
use std::time::Duration;

/// What the `daemon` maps of all files say, and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ShutdownPart {
    timeout: Option<Duration>,
    phases: [Option<Duration>; 4],
}

impl ShutdownPart {
    /// Reads `daemon`.
    pub(super) fn read(cx: &mut Cx<'_>, mut daemon: Fields) -> Self {
        let part = daemon.map(cx, "shutdown").map(|shutdown| Self::read_shutdown(cx, shutdown));
        daemon.finish(cx, &[]);
        part.unwrap_or_default()
    }

    fn read_shutdown(cx: &mut Cx<'_>, mut fields: Fields) -> Self {
        let mut part =
            Self { timeout: fields.duration(cx, "timeout", 1.0..=3600.0).ok(), phases: [None; 4] };
        if let Some(mut phases) = fields.map(cx, "phases") {
            part.phases =
                Stage::ALL.map(|stage| phases.duration(cx, stage.as_str(), 0.0..=3600.0).ok());
            phases.finish(cx, &[]);
        }
        let why = "is accepted, but has no effect";
        let hint = "Remove it, or leave it for other releases";
        fields.ignored(cx, &["mode", "force_after_timeout", "metrics"], why, hint);
        fields.finish(cx, &[]);
        part
    }

    /// This, and `below` where this says nothing.
    pub(super) fn over(self, below: &Self) -> Self {
        let mut phases = below.phases;
        for (phase, said) in phases.iter_mut().zip(self.phases) {
            *phase = said.or(*phase);
        }
        Self { timeout: self.timeout.or(below.timeout), phases }
    }

    pub(super) fn build(self) -> Budgets {
        let default = Budgets::default();
        let [stop_new_work, complete_current, cancel_tasks, force_cleanup] = self.phases;
        Budgets {
            stop_new_work: stop_new_work.unwrap_or(default.stop_new_work),
            complete_current: complete_current.unwrap_or(default.complete_current),
            cancel_tasks: cancel_tasks.unwrap_or(default.cancel_tasks),
            force_cleanup: force_cleanup.unwrap_or(default.force_cleanup),
            timeout: self.timeout,
        }
    }
}

impl Budgets {
    /// As the configuration writes it; none when nothing is said.
    pub(super) fn show(&self) -> Option<serde_json::Value> {
        if *self == Self::default() {
            return None;
        }
        let phases: serde_json::Map<String, serde_json::Value> = Stage::ALL
            .into_iter()
            .map(|stage| (stage.as_str().to_owned(), super::show::seconds(self.of(stage))))
            .collect();
        let mut shutdown = serde_json::Map::new();
        shutdown.extend(
            self.timeout.map(|timeout| ("timeout".to_owned(), super::show::seconds(timeout))),
        );
        shutdown.insert("phases".to_owned(), phases.into());
        Some(serde_json::json!({ "shutdown": shutdown }))
    }
}
