//! Owns the story of one shutdown: what happened stage by stage, why, and what to do.

use super::{counted, duration, heading, outcome, why};
use crate::history::Shutdown;
use crate::receipt::{Held, Receipt};
use crate::resource::LeaseKind;
use crate::shutdown::{Because, Passed, Stage};

/// Things named in a sentence before the rest is only counted.
const NAMED: usize = 5;

/// The story, one paragraph an element, none of them wrapped.
#[must_use]
pub fn story(shutdown: &Shutdown, when: &str) -> Vec<String> {
    let receipt = &shutdown.receipt;
    let mut paragraphs = vec![heading(shutdown, when), begin(shutdown)];
    paragraphs.extend(receipt.stages.iter().map(|passed| stage(passed, receipt)));
    paragraphs.extend(forced(receipt));
    paragraphs.extend(left(receipt));
    paragraphs.extend(system(receipt));
    paragraphs.extend(receipt.faults.iter().map(|fault| format!("On the way: {fault}.")));
    paragraphs.extend(receipt.remarks.iter().map(|remark| format!("{remark}.")));
    paragraphs.push(end(receipt));
    paragraphs
}

fn begin(shutdown: &Shutdown) -> String {
    let forwards = match shutdown.forwards {
        0 => "no forwards".to_owned(),
        1 => "1 forward".to_owned(),
        count => format!("{count} forwards"),
    };
    format!("LocalPort, with {forwards}, {}.", why(&shutdown.receipt))
}

fn stage(passed: &Passed, receipt: &Receipt) -> String {
    let name = passed.stage.as_str();
    let took = duration(passed.took_ms);
    let story = format!("{name}, {took}: {} {}", work(passed, receipt), close(&passed.because));
    story.trim_end().to_owned()
}

/// What the stage did, with what the receipt counts of it.
fn work(passed: &Passed, receipt: &Receipt) -> String {
    let of = |kinds: &[LeaseKind]| {
        let all = receipt.released.iter();
        let parts: Vec<String> = all
            .filter(|released| released.count > 0 && kinds.contains(&released.kind))
            .map(|released| counted(released.count, released.kind))
            .collect();
        parts.join(", ")
    };
    let with = |sentence: &str, counts: String| match counts.as_str() {
        "" => format!("{sentence}."),
        counts => format!("{sentence} ({counts})."),
    };
    let connections = of(&[LeaseKind::Connection]);
    let mut trouble = receipt.forced.iter().chain(&receipt.left);
    let cut = trouble.clone().any(|held| held.kind == LeaseKind::Connection);
    let stuck = trouble.any(|held| held.kind != LeaseKind::Connection);
    match passed.stage {
        Stage::StopNewWork => {
            with("the local ports closed, so nothing new came", of(&[LeaseKind::Listener]))
        }
        Stage::CompleteCurrent if connections.is_empty() && !cut => {
            "no connection was open.".to_owned()
        }
        Stage::CompleteCurrent => with("open connections had their time to finish", connections),
        Stage::CancelTasks => with(
            if cut {
                "what was still open was cut, and what carried it ended in good order"
            } else {
                "what carried the connections ended in good order"
            },
            of(&[LeaseKind::Session, LeaseKind::Tunnel, LeaseKind::Child, LeaseKind::Watch]),
        ),
        Stage::ForceCleanup if passed.because == Because::Done && !stuck => {
            "nothing needed it.".to_owned()
        }
        Stage::ForceCleanup => "whatever did not end by itself was ended by force.".to_owned(),
    }
}

/// How the stage ended; nothing of one that had nothing left, as stages should.
fn close(because: &Because) -> String {
    match because {
        Because::Done => String::new(),
        Because::Hurried => "A second request hurried it.".to_owned(),
        Because::Expired => "Its time ran out.".to_owned(),
        Because::Failed(why) => format!("It failed ({why}), and the end went on without it."),
    }
}

fn forced(receipt: &Receipt) -> Option<String> {
    if receipt.forced.is_empty() {
        return None;
    }
    let ended = |wanted: &Because, stage: Stage| {
        receipt.stages.iter().any(|passed| passed.stage == stage && passed.because == *wanted)
    };
    let why = if ended(&Because::Hurried, Stage::CompleteCurrent) {
        "because a second request asked for speed"
    } else if ended(&Because::Expired, Stage::CompleteCurrent) {
        "because the time for open connections was over"
    } else {
        "because it did not end when it was asked to"
    };
    Some(format!("Forced, {why}: {}.", names(&receipt.forced)))
}

fn left(receipt: &Receipt) -> Option<String> {
    (!receipt.left.is_empty())
        .then(|| format!("Not released before the process ended: {}.", names(&receipt.left)))
}

fn names(held: &[Held]) -> String {
    let mut parts: Vec<String> = held
        .iter()
        .take(NAMED)
        .map(|held| format!("{} `{}` of {}", held.kind.as_str(), held.name, held.owner))
        .collect();
    if held.len() > NAMED {
        parts.push(format!("and {} more", held.len() - NAMED));
    }
    parts.join(", ")
}

fn system(receipt: &Receipt) -> Option<String> {
    if receipt.checks.is_empty() {
        return None;
    }
    let what: Vec<&str> = receipt.checks.iter().map(|check| check.what.as_str()).collect();
    let unexplained: Vec<String> = receipt
        .checks
        .iter()
        .flat_map(|check| check.unexplained.iter().map(|name| format!("`{name}` ({})", check.what)))
        .collect();
    let what = what.join(", ");
    Some(if unexplained.is_empty() {
        format!("The operating system agrees; compared were {what}.")
    } else {
        let more = unexplained.len().saturating_sub(NAMED);
        let mut named = unexplained;
        named.truncate(NAMED);
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        format!(
            "The operating system still knew of what nothing accounts for: {}.",
            named.join(", ")
        )
    })
}

/// The last word, and what can be done.
fn end(receipt: &Receipt) -> String {
    let advice: Vec<&str> = [
        advice_on_forced(receipt),
        (receipt.left.iter().any(|held| held.kind == LeaseKind::Child))
            .then_some("The next start ends a process that was left behind."),
        (!receipt.is_clean() && receipt.forced.is_empty()).then_some(
            "What a process holds goes with it; if the same is named again and again, \
             please report it with `localport shutdown last --json`.",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    match (outcome(receipt).as_str(), advice.is_empty()) {
        ("clean", true) => "Everything was released; there is nothing to do.".to_owned(),
        (_, true) => "Everything was released all the same.".to_owned(),
        (_, false) => advice.join(" "),
    }
}

fn advice_on_forced(receipt: &Receipt) -> Option<&'static str> {
    let kinds = |wanted| receipt.forced.iter().any(|held| held.kind == wanted);
    if kinds(LeaseKind::Connection) {
        Some(
            "To lose no connection, end the clients first, or give them more time with \
             `daemon: shutdown: phases: complete_current` in the configuration.",
        )
    } else if kinds(LeaseKind::Child) {
        Some("`localport logs` shows what the process said last.")
    } else {
        (!receipt.forced.is_empty()).then_some("`localport logs` shows what went before.")
    }
}
