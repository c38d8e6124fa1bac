//! Owns the last troubles as a menu lists them: also for those who have no notification
//! server, have quiet hours, or were away.

use super::{Action, Key, Now};
use crate::time::Timestamp;
use std::collections::VecDeque;

/// More than this nobody reads in a menu.
const KEPT: usize = 8;

/// One trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// What it is about.
    pub key: Key,
    /// When it was last told of.
    pub at: Timestamp,
    /// The same by the user's clock, such as `14:02`.
    pub clock: String,
    /// The fact.
    pub title: String,
    /// Reason and remedy.
    pub body: String,
    /// Whether it is over.
    pub over: bool,
    /// What its message offers.
    pub actions: Vec<Action>,
}

/// Puts a trouble at the head of the list.
pub(super) fn note(
    list: &mut VecDeque<Recent>,
    key: &Key,
    now: Now,
    title: String,
    body: String,
    actions: Vec<Action>,
) {
    list.retain(|recent| recent.key != *key);
    let (key, at, clock) = (key.clone(), now.at, now.clock());
    list.push_front(Recent { key, at, clock, title, body, over: false, actions });
    list.truncate(KEPT);
}

/// It ended by itself, and this is what there is to say.
pub(super) fn over(list: &mut VecDeque<Recent>, key: &Key, title: &str, body: &str) {
    if let Some(recent) = list.iter_mut().find(|recent| recent.key == *key) {
        (recent.title, recent.body) = (title.to_owned(), body.to_owned());
        recent.over = true;
    }
}

/// Nothing is expected any more of what it is about.
pub(super) fn close(list: &mut VecDeque<Recent>, key: &Key) {
    if let Some(recent) = list.iter_mut().find(|recent| recent.key == *key) {
        recent.over = true;
    }
}
