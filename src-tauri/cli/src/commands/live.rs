//! Owns how an end or a drain is shown while it happens.
//!
//! Receives progress, emits one line that is rewritten in place on a terminal, plain
//! lines elsewhere, JSON lines for programs: on standard error, so that the result on
//! standard output stays one value.

use crate::output::Output;
use localport_core::progress::{DrainProgress, Progress};
use localport_core::receipt::Held;
use localport_core::resource::LeaseKind;
use localport_core::shutdown::Stage;
use localport_engine::control::client::{Client, ClientError, Lines};
use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The countdown moves on its own between two pieces of news.
const TICK: Duration = Duration::from_secs(1);

/// Empties the line.
const CLEAR: &str = "\r\x1b[2K";
/// What does not fit is cut off by the terminal: a line that wraps cannot be rewritten.
const CROP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Names of forwards or things that one line can hold.
const NAMED: usize = 3;

/// Waits for `asked` and shows how it comes along meanwhile.
pub(super) async fn follow<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, ClientError>>,
    live: &mut Live,
) -> Result<T, ClientError> {
    // Without progress the answer comes all the same, and says why there is none.
    let mut news = client.progress().await.ok();
    tokio::pin!(asked);
    let answer = loop {
        let tick = live.tick;
        tokio::select! {
            biased;
            answer = &mut asked => break answer,
            progress = next(&mut news) => live.show(&progress),
            () = sleep_until(tick.unwrap_or_else(Instant::now)), if tick.is_some() => live.count(),
        }
    };
    live.end();
    answer
}

/// The next progress; never once there is none any more.
async fn next(news: &mut Option<Lines>) -> Progress {
    while let Some(lines) = news {
        let message = lines.message().await;
        let progress = message.ok().flatten().and_then(|m| serde_json::from_str(&m.data).ok());
        match progress {
            Some(progress) => return progress,
            None => *news = None,
        }
    }
    std::future::pending().await
}

/// How people or programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// One line, rewritten in place.
    Rewritten,
    /// A line for each stage.
    Plain,
    /// A JSON line for each piece of news.
    Json,
}

/// What is shown.
pub(super) struct Live {
    form: Form,
    /// What was last said, and when.
    last: Option<(Progress, Instant)>,
    line: String,
    pub(super) tick: Option<Instant>,
    out: Box<dyn Write + Send>,
}

impl Live {
    /// In the form that the arguments and the terminal ask for.
    pub(super) fn new(output: &Output) -> Self {
        let form = match (output.json(), output.colour_of_errors()) {
            (true, _) => Form::Json,
            (false, true) => Form::Rewritten,
            (false, false) => Form::Plain,
        };
        Self::to(form, Box::new(io::stderr()))
    }

    fn to(form: Form, out: Box<dyn Write + Send>) -> Self {
        Self { form, last: None, line: String::new(), tick: None, out }
    }

    /// Whether it is one line on a terminal.
    pub(super) fn is_rewritten(&self) -> bool {
        self.form == Form::Rewritten
    }

    /// Shows a piece of news.
    pub(super) fn show(&mut self, progress: &Progress) {
        if progress.ending.is_none() && progress.drains.is_empty() {
            return;
        }
        if self.form == Form::Json {
            if let Ok(text) = serde_json::to_string(progress) {
                self.write(&format!("{text}\n"));
            }
            return;
        }
        self.last = Some((progress.clone(), Instant::now()));
        self.draw();
    }

    /// Moves the countdown.
    pub(super) fn count(&mut self) {
        self.draw();
    }

    /// Makes room for the result.
    pub(super) fn end(&mut self) {
        self.tick = None;
        self.last = None;
        if self.is_rewritten() && !std::mem::take(&mut self.line).is_empty() {
            self.write(CLEAR);
        }
    }

    fn draw(&mut self) {
        let Some((progress, at)) = &self.last else { return };
        let passed = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = if self.is_rewritten() { words(progress, passed) } else { stages(progress) };
        if self.is_rewritten() {
            self.tick = Some(Instant::now() + TICK);
        }
        if line == self.line {
            return;
        }
        // The cursor waits at the beginning, so that a line of somebody else begins there.
        let text = match self.form {
            Form::Rewritten => format!("{CLEAR}{CROP}{line}{WRAP}\r"),
            Form::Plain | Form::Json => format!("{line}\n"),
        };
        self.line = line;
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        // Nobody has to be there to read it.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Everything in one line: what is waited for, for how long, whose it is.
fn words(progress: &Progress, passed: u64) -> String {
    let Some(ending) = &progress.ending else { return drains(&progress.drains, passed) };
    let mut line = ending.sentence(passed);
    let named: Vec<String> = ending.first.iter().take(NAMED).map(name).collect();
    let more = ending.first.len().saturating_sub(NAMED) as u64 + u64::from(ending.more);
    if ending.stage != Stage::StopNewWork && !named.is_empty() {
        line.push_str(&format!(": {}", list(&named, more)));
    }
    if ending.forced > 0 {
        line.push_str(&format!(" · {} forced", ending.forced));
    }
    line
}

fn name(held: &Held) -> String {
    match held.kind {
        // How many there are is said already.
        LeaseKind::Connection => held.owner.clone(),
        _ => held.to_string(),
    }
}

/// What a log or a pipe gets: no countdown, one line a stage.
fn stages(progress: &Progress) -> String {
    match &progress.ending {
        Some(ending) => {
            let about = match ending.stage {
                Stage::StopNewWork => "no new clients",
                Stage::CompleteCurrent => "open connections finish",
                Stage::CancelTasks => "what is open is cut, sessions end",
                Stage::ForceCleanup => "what is left is ended by force",
            };
            format!("{}: {about}", ending.stage.as_str())
        }
        None => {
            let names: Vec<String> = progress.drains.iter().map(|d| d.forward.clone()).collect();
            format!("draining: {}", some(&names))
        }
    }
}

fn drains(drains: &[DrainProgress], passed: u64) -> String {
    let open: u32 = drains.iter().map(|drain| drain.open).sum();
    let longest = drains.iter().map(|drain| drain.left_ms).max().unwrap_or(0);
    let seconds = longest.saturating_sub(passed).div_ceil(1_000);
    let busy = drains.iter().filter(|drain| drain.open > 0);
    let names: Vec<String> = busy.map(|drain| drain.forward.clone()).collect();
    match open {
        0 => "Draining".to_owned(),
        1 => format!("Draining: 1 connection finishes, {seconds} s left: {}", some(&names)),
        _ => format!("Draining: {open} connections finish, {seconds} s left: {}", some(&names)),
    }
}

fn some(names: &[String]) -> String {
    let shown = &names[..names.len().min(NAMED)];
    list(shown, names.len().saturating_sub(NAMED) as u64)
}

fn list(names: &[String], more: u64) -> String {
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::parts::connections;
    use localport_core::progress::EndingProgress;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn progress(ending: Option<EndingProgress>) -> Progress {
        Progress { phase: "draining".into(), sentence: None, ending, drains: vec![] }
    }

    fn ending(stage: Stage, open: u32, left_ms: u64) -> Progress {
        progress(Some(EndingProgress {
            stage,
            left_ms,
            can_cancel: stage.can_cancel(),
            open,
            left: vec![],
            first: if open > 0 { vec![connections("files", open)] } else { vec![] },
            more: 12,
            forced: 0,
        }))
    }

    /// The same news in `form`, with two seconds after the last.
    async fn said(form: Form) -> String {
        let paper = Paper::default();
        let mut live = Live::to(form, Box::new(paper.clone()));
        live.show(&progress(None));
        live.show(&ending(Stage::StopNewWork, 0, 2_000));
        live.show(&ending(Stage::CompleteCurrent, 3, 8_000));
        live.show(&ending(Stage::CompleteCurrent, 2, 7_500));
        tokio::time::sleep(Duration::from_secs(2)).await;
        live.count();
        live.end();
        let bytes = paper.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// S10.2: on a terminal one line, rewritten, that counts down; gone before the result.
    #[tokio::test(start_paused = true)]
    async fn s10_2_a_terminal_gets_one_line_that_is_rewritten() {
        let expected = [
            "Quitting: no new clients",
            "Quitting: 3 connections finish, 8 s left: files and 12 more",
            "Quitting: 2 connections finish, 8 s left: files and 12 more",
            "Quitting: 2 connections finish, 6 s left: files and 12 more",
        ];
        let expected: String =
            expected.iter().map(|line| format!("\r\x1b[2K\x1b[?7l{line}\x1b[?7h\r")).collect();
        assert_eq!(said(Form::Rewritten).await, format!("{expected}\r\x1b[2K"));
    }

    /// S10.2: without a terminal a line a stage, and not one escape code.
    #[tokio::test(start_paused = true)]
    async fn s10_2_a_pipe_gets_a_line_a_stage() {
        assert_eq!(
            said(Form::Plain).await,
            "stop_new_work: no new clients\ncomplete_current: open connections finish\n"
        );
    }

    /// S10.2: programs get every piece of news as a JSON line.
    #[tokio::test(start_paused = true)]
    async fn s10_2_programs_get_json_lines() {
        let said = said(Form::Json).await;
        let lines: Vec<Progress> =
            said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert_eq!(lines[2], ending(Stage::CompleteCurrent, 2, 7_500));
    }

    #[test]
    fn a_drain_says_what_it_waits_for() {
        let of = |forward: &str, open| DrainProgress {
            forward: forward.into(),
            stage: Stage::CompleteCurrent,
            left_ms: 29_400,
            open,
        };
        let all = [of("a", 1), of("b", 0), of("c", 2), of("d", 1), of("e", 1)];
        assert_eq!(
            drains(&all, 1_000),
            "Draining: 5 connections finish, 29 s left: a, c, d and 1 more"
        );
        assert_eq!(drains(&all[..1], 0), "Draining: 1 connection finishes, 30 s left: a");
    }
}
