//! Owns a diagnosis as people read it: one line per step, then the remedy.

use super::{Diagnosis, Outcome};

/// The lines of `diagnosis`; the first word of a step's line is its outcome.
#[must_use]
pub fn lines(diagnosis: &Diagnosis) -> Vec<String> {
    let mut lines = vec![heading(diagnosis), String::new()];
    let width = diagnosis.steps.iter().map(|walked| walked.step.as_str().len()).max().unwrap_or(0);
    for walked in &diagnosis.steps {
        let outcome = match walked.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        };
        let took = walked.took_ms.map(time).unwrap_or_default();
        let step = walked.step.as_str();
        let line = format!("  {outcome:<7}  {step:<width$}  {took:>7}  {}", walked.said);
        lines.push(line.trim_end().to_owned());
    }
    lines.push(String::new());
    match &diagnosis.finding {
        Some(finding) => {
            lines.push(finding.problem.sentence.clone());
            if !finding.problem.hint.is_empty() {
                lines.push(format!("  {}", finding.problem.hint));
            }
            if let Some(command) = &finding.command {
                lines.push(format!("  See for yourself: {command}"));
            }
        }
        None if diagnosis.well => lines.push("Every step holds".to_owned()),
        None => lines.push("No step failed, but not every step could be looked at".to_owned()),
    }
    lines
}

fn heading(diagnosis: &Diagnosis) -> String {
    let Diagnosis { name, technology, context, target, .. } = diagnosis;
    match target {
        Some(target) => format!("{name} · {target} · {} {context}", technology.as_str()),
        None => format!("{} {context}", technology.as_str()),
    }
}

/// `0.4 ms`, `12 ms`, `1.5 s`.
fn time(ms: f64) -> String {
    if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1_000.0)
    }
}
