//! Owns `drain`: forwards that are let go empty, and how that went.

use super::live::{self, Live};
use super::switch::selector;
use crate::args;
use crate::exit::{CommandError, Exit};
use crate::output::Output;
use localport_core::parts::PartReceipt;
use localport_engine::control::client::{Client, Drained};
use localport_engine::home::Home;
use serde_json::json;

/// `localport drain`
pub(crate) async fn run(
    home: &Home,
    wanted: args::Drain,
    output: &mut Output,
) -> Result<Exit, CommandError> {
    let within_ms = wanted.timeout.map(|timeout| timeout.as_millis());
    let body = json!({
        "selector": selector(wanted.selection), "within_ms": within_ms, "wait": wanted.wait,
    });
    let client = Client::new(home);
    let asked = client.post("/v1/drain", &body);
    let answer: Drained = if wanted.wait {
        live::follow(&client, asked, &mut Live::new(output)).await?
    } else {
        asked.await?
    };
    if output.json() {
        output.value(&answer)?;
    } else {
        for line in lines(&answer) {
            output.line(line)?;
        }
    }
    let clean = answer.drained.as_ref().is_none_or(PartReceipt::is_clean);
    Ok(if clean { Exit::Done } else { Exit::Forced })
}

/// What it is about, or how it went, in words.
fn lines(answer: &Drained) -> Vec<String> {
    let mut lines = match &answer.drained {
        _ if answer.forwards.is_empty() => vec!["nothing to drain".to_owned()],
        None => vec![format!("drain: {}", answer.forwards.join(", "))],
        Some(receipt) => vec![sentence(receipt)],
    };
    lines.extend(answer.message.clone());
    lines
}

fn sentence(receipt: &PartReceipt) -> String {
    let PartReceipt { forwards, took_ms, forced, left, resumed } = receipt;
    let took = *took_ms as f64 / 1_000.0;
    let drained: Vec<&str> =
        forwards.iter().filter(|name| !resumed.contains(name)).map(String::as_str).collect();
    let mut sentence = match drained.as_slice() {
        [] => "nothing drained".to_owned(),
        names => format!("drained in {took:.1} s: {}", names.join(", ")),
    };
    for (held, word) in [(forced, "cut"), (left, "left")] {
        if !held.is_empty() {
            let names: Vec<String> = held.iter().map(ToString::to_string).collect();
            sentence.push_str(&format!("; {word}: {}", names.join(", ")));
        }
    }
    if !resumed.is_empty() {
        sentence.push_str(&format!("; resumed meanwhile: {}", resumed.join(", ")));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::parts::connections;

    #[test]
    fn a_receipt_is_one_sentence_with_names() {
        let forwards = vec!["a".to_owned(), "b".to_owned()];
        let clean = PartReceipt { forwards, took_ms: 1_240, ..PartReceipt::default() };
        assert_eq!(sentence(&clean), "drained in 1.2 s: a, b");
        let cut = PartReceipt {
            forced: vec![connections("a", 2)],
            resumed: vec!["b".to_owned()],
            ..clean.clone()
        };
        assert_eq!(
            sentence(&cut),
            "drained in 1.2 s: a; cut: 2 open connections of a; resumed meanwhile: b"
        );
        let resumed = PartReceipt { resumed: clean.forwards.clone(), ..clean };
        assert_eq!(sentence(&resumed), "nothing drained; resumed meanwhile: a, b");
    }
}
