//! Whole configurations, as people write them: what loads, with which result,
//! and what every complaint says. Shows S4.1 and S4.2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is the point"
)]

#[path = "config/corpus.rs"]
mod corpus;
#[path = "config/diff.rs"]
mod diff;
#[path = "config/docs.rs"]
mod docs;
#[path = "config/good.rs"]
mod good;
#[path = "config/machine.rs"]
mod machine;
#[path = "config/notifications.rs"]
mod notifications;
#[path = "config/properties.rs"]
mod properties;
#[path = "config/reload.rs"]
mod reload;
#[path = "config/rules.rs"]
mod rules;
#[path = "config/via.rs"]
mod via;
