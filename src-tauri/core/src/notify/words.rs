//! Owns what a message says: a short title with the fact, a body with the reason and
//! what can be done. No backticks: a desktop shows them as they are.

use super::trouble::{Cause, Key, Trouble};
use super::unsteady::STEADY;
use std::time::Duration;

/// Longer names push the fact out of a title.
const NAME_CHARS: usize = 40;
/// Forwards that a body names before it counts the rest.
const NAMED: usize = 3;

/// Title and body.
pub(super) type Words = (String, String);

/// `staging unreachable: 12 forwards wait`.
pub(super) fn alarm(key: &Key, trouble: &Trouble) -> Words {
    let name = short(key.name());
    let title = match (key, trouble.cause) {
        (Key::Place(_), Cause::Away) => format!("{name} unreachable: {}", wait(trouble)),
        (Key::Place(_), Cause::Login) => format!("{name} needs a login: {}", wait(trouble)),
        (Key::Place(_), Cause::HostKey) => {
            format!("{name}: its host key is not accepted, {}", wait(trouble))
        }
        (Key::Place(_), Cause::Several) => {
            format!("{} of {name} have trouble", count(trouble.forwards.len()))
        }
        (Key::Place(_), _) => format!("{name} cannot be used: {}", wait(trouble)),
        (Key::Forward(_), Cause::Port) => format!("{name} cannot listen"),
        (Key::Forward(_), Cause::Target) => format!("{name} is degraded: its target fails"),
        (Key::Forward(_), Cause::Missing) => format!("{name} waits for {}", short(&trouble.place)),
        (Key::Forward(_), _) => format!("{name} is broken"),
    };
    (title, reason(trouble))
}

/// `staging is back after 4 min`.
pub(super) fn recovery(
    key: &Key,
    cause: Cause,
    serving: &[String],
    of: usize,
    lasted: Duration,
) -> Words {
    let (name, lasted) = (short(key.name()), span(lasted));
    match key {
        Key::Place(_) if cause == Cause::Several => {
            (format!("{name}: {}", serve(serving, of)), format!("They had trouble for {lasted}"))
        }
        Key::Place(_) => (format!("{name} is back after {lasted}"), serve(serving, of)),
        Key::Forward(_) => (format!("{name} serves again"), format!("It was away for {lasted}")),
    }
}

/// `staging comes and goes`: the last word until it is steady.
pub(super) fn unsteady(key: &Key, times: usize, within: Duration) -> Words {
    let title = format!("{} comes and goes", short(key.name()));
    let body = format!(
        "Lost {times} times in {}. More is said when it has been steady for {}",
        span(within),
        span(STEADY)
    );
    (title, body)
}

/// `staging is steady again`.
pub(super) fn steady(key: &Key, serving: &[String], of: usize, lasted: Duration) -> Words {
    let title = format!("{} is steady again", short(key.name()));
    (title, format!("{} after {}", serve(serving, of), span(lasted)))
}

fn reason(trouble: &Trouble) -> String {
    let Trouble { problem, forwards, .. } = trouble;
    let mut body = format!("{}\n{}", problem.sentence, problem.hint).replace('`', "");
    if trouble.cause == Cause::Several {
        body = format!("{}\n{body}", named(forwards));
    }
    body.trim().to_owned()
}

fn wait(trouble: &Trouble) -> String {
    match trouble.forwards.as_slice() {
        [one] => format!("{} waits", short(one)),
        many => format!("{} wait", count(many.len())),
    }
}

fn serve(serving: &[String], of: usize) -> String {
    match (serving, of) {
        ([], _) => "No forward serves yet".to_owned(),
        ([one], 1) => format!("{} serves", short(one)),
        (all, of) if all.len() == of => format!("{} serve", count(of)),
        (some, of) => format!("{} of {} serve", some.len(), count(of)),
    }
}

fn count(forwards: usize) -> String {
    let plural = if forwards == 1 { "" } else { "s" };
    format!("{forwards} forward{plural}")
}

fn named(forwards: &[String]) -> String {
    let mut names: Vec<String> = forwards.iter().take(NAMED).map(|name| short(name)).collect();
    if forwards.len() > NAMED {
        names.push(format!("{} more", forwards.len() - NAMED));
    }
    names.join(", ")
}

fn short(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARS - 1).chain(['…']).collect()
}

/// A time as people say it, in its two largest units.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, ..) => "1 day".to_owned(),
        (days, ..) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_largest_units() {
        let table = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (7_500, "2 h 5 min"),
            (86_400, "1 day"),
            (3 * 86_400, "3 days"),
        ];
        for (seconds, words) in table {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_recovery_counts_what_serves() {
        let names = |n: usize| (0..n).map(|n| format!("f{n}")).collect::<Vec<_>>();
        assert_eq!(serve(&names(1), 1), "f0 serves");
        assert_eq!(serve(&names(12), 12), "12 forwards serve");
        assert_eq!(serve(&names(1), 12), "1 of 12 forwards serve");
        assert_eq!(named(&names(5)), "f0, f1, f2, 2 more");
        assert_eq!(short(&"ä".repeat(99)).chars().count(), NAME_CHARS);
    }
}
