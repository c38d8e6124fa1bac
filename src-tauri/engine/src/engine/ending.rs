//! Owns the engine's end: performs what the shutdown machine decides.
//!
//! Receives requests to end, the state of the board and the fate of its own work; emits
//! the stages, and at last how it went.

use super::ahead::Step;
use super::{ENGINE, Engine, HOST, Reply};
use crate::adapter::Adapter;
use crate::deadline::Deadline;
use crate::handle::Ask;
use crate::registry::{Registry, Tasks};
use crate::supervisor::Wish;
use localport_core::command::{Done, Refusal};
use localport_core::event::Kind;
use localport_core::journal::Entry;
use localport_core::progress::{Remaining, remaining};
use localport_core::receipt::{Held, Receipt};
use localport_core::resource::LeaseKind;
use localport_core::shutdown::{Budgets, Input, Output, Reason, Stage, State, step};
use localport_core::snapshot::{self, ForwardState, ListenerState, Phase, Snapshot};
use localport_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, yield_now};

/// Time after which a lease that is still there is one that nobody gives back. The
/// groups below the supervisors are cancelled with them, but not awaited.
const TURN: Duration = Duration::from_millis(100);
/// Where the end stands and what it holds.
pub(super) struct End {
    state: State,
    budgets: Budgets,
    wish: watch::Sender<Wish>,
    tasks: Tasks,
    pub(super) wake_at: Option<Timestamp>,
    begun: Option<Timestamp>,
    deadline: Deadline,
    reasons: Vec<Reason>,
    /// What the forwards are told in the loop's next turn.
    tell: Option<Wish>,
    /// Who is to hear that the end was called off.
    called_off_by: Option<Reply>,
    work: Option<(Stage, JoinHandle<()>)>,
}

impl End {
    pub(super) fn new(
        budgets: Budgets,
        wish: watch::Sender<Wish>,
        tasks: Tasks,
        deadline: Deadline,
    ) -> Self {
        Self {
            state: State::Running,
            budgets,
            deadline,
            wish,
            tasks,
            wake_at: None,
            begun: None,
            reasons: vec![],
            tell: None,
            called_off_by: None,
            work: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.state != State::Running
    }

    /// Tells the forwards what was announced a moment ago. A thousand of them that wake
    /// at once would keep the announcement waiting, so whoever listens has a turn first.
    pub(super) async fn tell_forwards(&mut self) {
        if let Some(wish) = self.tell.take() {
            yield_now().await;
            self.wish.send_replace(wish);
        }
    }

    /// Resolves when the work of a stage has ended; never without work.
    pub(super) async fn work_ended(&mut self) -> (Stage, Result<(), JoinError>) {
        match &mut self.work {
            Some((stage, work)) => {
                let ended = work.await;
                (*stage, ended)
            }
            None => std::future::pending().await,
        }
    }

    pub(super) fn view(
        &self,
        snapshot: &Snapshot,
        registry: &Registry,
    ) -> Option<snapshot::Ending> {
        let State::Ending(ending) = &self.state else { return None };
        let Remaining { left, first, more } = remaining(things(registry), ending.stage);
        Some(snapshot::Ending {
            stage: ending.stage,
            since: ending.since,
            until: ending.until,
            open: snapshot.forwards.iter().map(|forward| forward.connections.open).sum(),
            can_cancel: ending.stage.can_cancel(),
            left,
            first,
            more,
            forced: forced(registry),
        })
    }

    /// Whether nobody but the login session asked for it.
    fn is_the_sessions(&self) -> bool {
        let session = |reason: &Reason| matches!(reason, Reason::Logout | Reason::SystemShutdown);
        self.is_under_way() && self.reasons.iter().all(session)
    }

    fn stage(&self) -> Option<Stage> {
        match &self.state {
            State::Ending(ending) => Some(ending.stage),
            State::Running | State::Ended { .. } => None,
        }
    }
}

impl Engine {
    /// The next end goes by these, its process' deadline too, and every stop and drain.
    pub(super) fn rebudget(&mut self, new: Budgets) {
        let complete_current = self.fixed.unwrap_or(new.complete_current);
        let budgets = Budgets { complete_current, ..new };
        self.end.budgets = budgets;
        self.budgets.send_replace(budgets);
    }

    pub(super) fn asked(&mut self, ask: Ask) {
        match ask {
            // Asking twice is asking once: only a person's hurry speeds an end up.
            Ask::Quit(reason) if self.end.is_under_way() => self.also(reason),
            Ask::Quit(reason) => {
                self.end.reasons.push(reason);
                self.drive(Input::Ask);
            }
            Ask::Hurry => self.drive(Input::Ask),
            Ask::SessionGoesOn => {
                if self.end.is_the_sessions() {
                    self.drive(Input::Cancel);
                }
            }
            Ask::Suspend(quiet) => self.suspend(quiet),
            Ask::Wake(slept) => self.wake(slept),
            Ask::NetworkChanged => self.network_changed(),
            Ask::QuitWithin(reason, within) => {
                self.also(reason);
                self.drive(Input::AskWithin(within));
            }
        }
    }

    fn also(&mut self, reason: Reason) {
        if self.end.reasons.contains(&reason) {
            return;
        }
        self.end.reasons.push(reason);
        if self.end.is_under_way() {
            self.ahead.put(Entry::EndBegun { reason: Some(reason) });
        }
    }

    /// A person does not want to wait for the stage under way.
    pub(super) fn hurried(&mut self) -> Result<Done, Refusal> {
        if !self.end.is_under_way() {
            return Err(Refusal::NotNow { sentence: "LocalPort is not quitting".to_owned() });
        }
        self.drive(Input::Ask);
        Ok(Done { message: Some("LocalPort hurries".to_owned()), ..Done::default() })
    }

    /// Calls the end off, if there is one that nothing was lost in yet; answers when that
    /// is done.
    pub(super) fn call_off(&mut self, reply: Reply) {
        let refuse = |reply: Reply, sentence: &str| {
            // Whoever asked may have gone.
            let _ = reply.send(Err(Refusal::NotNow { sentence: sentence.to_owned() }));
        };
        if !self.end.is_under_way() {
            return refuse(reply, "LocalPort is not quitting");
        }
        self.end.called_off_by = Some(reply);
        self.drive(Input::Cancel);
        if let Some(reply) = self.end.called_off_by.take() {
            refuse(reply, "it is too late to call the end off: connections were cut");
        }
    }

    pub(super) fn drive(&mut self, input: Input) {
        let now = self.clock.now();
        let state = std::mem::take(&mut self.end.state);
        let (state, outputs) = step(state, input, &self.end.budgets, now);
        self.end.state = state;
        for output in outputs {
            match output {
                Output::Enter(stage) => self.announce_ahead(stage, now),
                Output::WakeAt(at) => self.end.wake_at = Some(at),
                Output::Resume => self.forget_end(),
                Output::Finish => self.end.wake_at = None,
            }
        }
    }

    /// The journal knows of a stage before its work begins.
    fn announce_ahead(&mut self, stage: Stage, now: Timestamp) {
        let mut entries = vec![Entry::StageEntered { stage }];
        if stage == Stage::StopNewWork {
            entries.insert(0, Entry::EndBegun { reason: self.end.reasons.first().copied() });
        }
        self.ahead.after(entries, Step::Enter(stage, now));
    }

    /// Passes the stage when the board shows that it has nothing left.
    pub(super) fn look(&mut self) {
        // A stage that has not begun is not over.
        while let Some(stage) = self.end.stage().filter(|_| self.ahead.is_empty()) {
            let done = match stage {
                Stage::StopNewWork => self.board.all(|forward| {
                    forward.listener.state == ListenerState::Closed
                        && matches!(forward.state, ForwardState::Stopping | ForwardState::Stopped)
                }),
                Stage::CompleteCurrent => {
                    self.board.all(|forward| forward.state == ForwardState::Stopped)
                }
                Stage::CancelTasks | Stage::ForceCleanup => false,
            };
            if !done {
                return;
            }
            self.drive(Input::Done(stage));
        }
    }

    pub(super) fn worked(&mut self, (stage, ended): (Stage, Result<(), JoinError>)) {
        self.end.work = None;
        self.drive(match ended {
            Ok(()) => Input::Done(stage),
            Err(error) => Input::Failed(stage, error.to_string()),
        });
    }

    pub(super) fn begin(&mut self, stage: Stage, now: Timestamp) {
        if stage == Stage::StopNewWork {
            self.end.begun = Some(now);
            self.registry.begin_release();
            self.probes.pause();
            self.enter(Phase::Draining);
        }
        let Remaining { left, .. } = remaining(things(&self.registry), stage);
        let forced = forced(&self.registry);
        self.announce(None, Kind::Stage { stage, left, forced });
        self.stale.mark(Duration::ZERO);
        match stage {
            Stage::StopNewWork => self.end.tell = Some(Wish::Drain),
            Stage::CompleteCurrent => {}
            Stage::CancelTasks => {
                self.probes.stop();
                self.end.tell = Some(Wish::Cut);
                // Without their orders the supervisors end as soon as they are drained.
                self.board.dismiss();
                let (supervisors, adapters) = (self.supervisors.clone(), self.adapters.clone());
                let (tasks, budget) = (self.end.tasks.clone(), self.end.budgets.cancel_tasks);
                self.work(stage, async move {
                    supervisors.wait().await;
                    release(&adapters, &tasks, budget).await;
                });
            }
            Stage::ForceCleanup => {
                let (supervisors, adapters) = (self.supervisors.clone(), self.adapters.clone());
                let (registry, tasks) = (self.registry.clone(), self.end.tasks.clone());
                let budget = self.end.budgets.force_cleanup;
                self.work(stage, async move {
                    // Tasks that were cancelled a moment ago have their turn to notice.
                    registry.nothing_held(is_judged, TURN).await;
                    registry.force(is_judged, budget / 2).await;
                    supervisors.cancel();
                    release(&adapters, &tasks, budget / 4).await;
                });
            }
        }
    }

    fn work(&mut self, stage: Stage, work: impl Future<Output = ()> + Send + 'static) {
        if let Some((_, earlier)) = self.end.work.take() {
            earlier.abort();
        }
        let task = self.end.tasks.spawn_to_end(stage.as_str(), work);
        self.end.work = Some((stage, task));
    }

    /// From here on the next end may begin, also before this one is undone.
    fn forget_end(&mut self) {
        self.end.wake_at = None;
        self.end.deadline.lift();
        self.end.reasons.clear();
        self.ahead.forget_stages();
        let reply = self.end.called_off_by.take();
        self.ahead.after(vec![Entry::EndCancelled], Step::Resume(reply));
    }

    pub(super) fn resume(&mut self, reply: Option<Reply>) {
        self.end.begun = None;
        self.registry.forget_release();
        self.probes.resume();
        // Before the answer: who reads it finds the forwards told.
        self.end.tell = None;
        self.end.wish.send_replace(Wish::Run);
        self.announce(None, Kind::EndCancelled);
        self.enter(self.awake_or_asleep());
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(Done {
                message: Some("LocalPort goes on".to_owned()),
                ..Done::default()
            }));
        }
    }

    /// How it went, once everything had its turn.
    pub(super) async fn report(&mut self) -> Receipt {
        self.registry.nothing_held(is_judged, TURN).await;
        let State::Ended { passed } = &self.end.state else { return Receipt::default() };
        let took = self.end.begun.map(|begun| self.clock.now().since(begun)).unwrap_or_default();
        let account = self.registry.account();
        Receipt {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            reasons: self.end.reasons.clone(),
            began: self.end.begun.unwrap_or_default(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            stages: passed.clone(),
            released: account.released,
            forced: account.forced,
            left: self.registry.held(is_judged),
            slowest: account.slowest,
            faults: self.registry.faults(),
            ..Receipt::default()
        }
    }
}

fn forced(registry: &Registry) -> u32 {
    // The account of a thousand forwards takes its time, and mostly says none.
    if !registry.has_forced() {
        return 0;
    }
    u32::try_from(registry.account().forced.len()).unwrap_or(u32::MAX)
}

/// What people are told of: tasks are not, what they serve is.
fn things(registry: &Registry) -> Vec<Held> {
    registry.held_of(|kind, owner| kind != LeaseKind::Task && is_judged(owner))
}

/// What the host and the engine itself hold goes after the engine.
fn is_judged(owner: &str) -> bool {
    owner != HOST && owner != ENGINE
}

/// Each adapter ends in a task of its own, so that a panic in one stops no other; the
/// tasks take it down.
async fn release(adapters: &[Arc<dyn Adapter>; 2], tasks: &Tasks, budget: Duration) {
    let end = |adapter: &Arc<dyn Adapter>| {
        let adapter = adapter.clone();
        tasks.spawn_to_end("end of an adapter", async move { adapter.shutdown(budget).await })
    };
    let [ssh, kube] = adapters.each_ref().map(end);
    let (ssh, kube) = tokio::join!(ssh, kube);
    for failed in [ssh, kube].into_iter().filter_map(Result::err) {
        tracing::debug!("an adapter did not end in good order: {failed}");
    }
}
