//! Owns one attempt at a session: opening it, watching it, proving its target.

use super::{News, Shared, Supervisor};
use crate::adapter::{Adapter, Session, SessionScope};
use crate::client::{LastProof, Live};
use crate::handle::Clock;
use crate::registry::{LeaseKind, Tasks};
use localport_core::config::{ForwardSpec, HealthCheck, Target};
use localport_core::event::Kind;
use localport_core::problem::{Code, Problem};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time between proofs where the configuration has no `health_check`.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Time until the next look at a target that fails.
const FAILING_INTERVAL: Duration = Duration::from_secs(3);
/// Time a session has to answer a ping before it counts as lost, whatever the adapter
/// promises: a tunnel that is black-holed must not stay green.
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Time a target has to accept where the configuration has no `health_check`.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// Time a session has for it after a sleep or a change of the network: many round trips
/// on any path, and half of what a person waits for the first byte.
const SUSPECT_DEADLINE: Duration = Duration::from_secs(1);
/// Lines an adapter may say before they are dropped.
const NOTES: usize = 32;

/// An attempt in progress or in use. Dropping it ends its tasks and its session.
pub(super) struct Attempt {
    tasks: Tasks,
    care: watch::Sender<Care>,
    users: TaskTracker,
    retired: CancellationToken,
}

/// How the session is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Care {
    /// Nothing is asked of it.
    pub(super) quiet: bool,
    /// Rises whenever it has to prove itself at once.
    pub(super) doubts: u64,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Attempt {
    pub(super) fn start(supervisor: &Supervisor, generation: u64) -> Self {
        let tasks = supervisor.shared.tasks.child(&supervisor.spec.name);
        let (users, retired) = (TaskTracker::new(), CancellationToken::new());
        let (notes, mut notes_in) = mpsc::channel::<Kind>(NOTES);
        let (reports, id) = (supervisor.reports.clone(), supervisor.id);
        tasks.spawn("notes", async move {
            while let Some(kind) = notes_in.recv().await {
                let _ = reports.send(super::Report::Event { id, kind }).await;
            }
        });
        let runner = Runner {
            generation,
            spec: supervisor.spec.clone(),
            specs: supervisor.specs.subscribe(),
            users: users.clone(),
            retired: retired.clone(),
            adapter: supervisor.adapter.clone(),
            scope: SessionScope {
                forward: supervisor.spec.name.clone(),
                tasks: tasks.clone(),
                notes,
            },
            news: supervisor.news.clone(),
            proof: Arc::default(),
            probes: supervisor.shared.probes.clone(),
            clock: supervisor.shared.clock,
        };
        let (care, cared) = watch::channel(Care::default());
        tasks.spawn("session", runner.run(cared));
        Self { tasks, care, users, retired }
    }

    /// Keeps the session for the clients that it carries, and ends it with the last.
    pub(super) fn retire(self, name: &str, shared: &Shared) {
        self.retired.cancel();
        let keeping = shared.tasks.child(name);
        keeping.spawn("old session", async move {
            self.users.close();
            self.users.wait().await;
        });
    }

    pub(super) fn care(&self, change: impl FnOnce(&mut Care)) {
        self.care.send_modify(change);
    }
}

/// Waits for word that the cause of a failure has mended. Dropping it ends the wait.
pub(super) struct Mending {
    tasks: Tasks,
}

impl Drop for Mending {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Mending {
    pub(super) fn watch(supervisor: &Supervisor, problem: &Problem) -> Self {
        let tasks = supervisor.shared.tasks.child(&supervisor.spec.name);
        let (adapter, target) = (supervisor.adapter.clone(), supervisor.spec.target.clone());
        let (news, problem) = (supervisor.news.clone(), problem.clone());
        let generation = supervisor.state.attempt().generation;
        tasks.spawn("mending", async move {
            adapter.mended(&target, &problem).await;
            // A supervisor that is gone has cancelled this task as well.
            let _ = news.send(News::Mended { generation }).await;
        });
        Self { tasks }
    }
}

struct Runner {
    generation: u64,
    spec: ForwardSpec,
    specs: watch::Receiver<Arc<ForwardSpec>>,
    users: TaskTracker,
    retired: CancellationToken,
    adapter: Arc<dyn Adapter>,
    scope: SessionScope,
    news: mpsc::Sender<News>,
    proof: Arc<LastProof>,
    probes: Arc<Semaphore>,
    clock: Clock,
}

impl Runner {
    async fn run(self, care: watch::Receiver<Care>) {
        let generation = self.generation;
        let opened = self.adapter.open(&self.spec.target, self.scope.clone()).await;
        let session = match opened {
            Ok(session) => session,
            Err(problem) => {
                self.tell(News::Opened { generation, result: Err(problem) }).await;
                return;
            }
        };
        let (name, owner) = (format!("session {generation}"), self.spec.name.as_str());
        let lease = self.scope.tasks.lease(LeaseKind::Session, name, owner, session.stands_on());
        let live = Live {
            generation,
            session: session.clone(),
            lease: lease.id(),
            users: self.users.clone(),
            proof: self.proof.clone(),
        };
        self.tell(News::Opened { generation, result: Ok(live) }).await;
        tokio::select! {
            problem = session.lost() => self.tell(News::Lost { generation, problem }).await,
            () = self.follow(&*session) => {}
            () = self.prove(&*session, care) => {}
            () = self.retired.cancelled() => {
                self.users.close();
                self.users.wait().await;
            }
        }
    }

    /// Reports every change of the route, for ever.
    async fn follow(&self, session: &dyn Session) {
        let mut route = session.route();
        loop {
            route = session.rerouted(&route).await;
            self.tell(News::Rerouted { generation: self.generation, route: route.clone() }).await;
        }
    }

    /// Proves the target as the forward's check says, from the start when that changes,
    /// until the session itself does not answer.
    async fn prove(&self, session: &dyn Session, care: watch::Receiver<Care>) {
        let mut specs = self.specs.clone();
        loop {
            let check = specs.borrow_and_update().health_check.clone();
            let other = |spec: &Arc<ForwardSpec>| spec.health_check != check;
            tokio::select! {
                () = self.prove_by(check.as_ref(), session, care.clone()) => return,
                changed = specs.wait_for(other) => if changed.is_err() { return },
            }
        }
    }

    async fn prove_by(
        &self,
        check: Option<&HealthCheck>,
        session: &dyn Session,
        mut care: watch::Receiver<Care>,
    ) {
        let interval = interval(check);
        let mut doubts = care.borrow().doubts;
        let mut suspect = false;
        loop {
            let looked = tokio::select! {
                looked = self.look(check, session, suspect) => looked,
                // Nothing more is asked; whether the last answer comes is of no account.
                () = asked(&mut care, |care| care.quiet || care.doubts != doubts) => Ok(true),
            };
            let pause = match looked {
                Ok(true) => interval,
                Ok(false) => FAILING_INTERVAL.min(interval),
                Err(problem) => return self.end(session, suspect, problem).await,
            };
            let paused = care.clone();
            tokio::select! {
                () = asked(&mut care, |care| !care.quiet && care.doubts != doubts) => {}
                () = self.pause(pause, interval, paused) => {}
            }
            let before = std::mem::replace(&mut doubts, care.borrow().doubts);
            suspect = doubts != before;
        }
    }

    async fn end(&self, session: &dyn Session, suspect: bool, problem: Problem) {
        let generation = self.generation;
        if suspect {
            session.forsake();
            self.tell(News::Stale { generation, problem }).await;
        } else {
            self.tell(News::Lost { generation, problem }).await;
        }
    }

    /// Waits until the next look is due; for ever in a sleep.
    async fn pause(&self, pause: Duration, interval: Duration, mut care: watch::Receiver<Care>) {
        // A tenth more or less, so that the probes of many forwards spread out.
        let mut next = Instant::now() + pause.mul_f64(0.9 + 0.2 * super::jitter());
        loop {
            asked(&mut care, |care| !care.quiet).await;
            tokio::select! {
                () = sleep_until(next) => {}
                () = asked(&mut care, |care| care.quiet) => continue,
            }
            // Bytes that came back since are as good as a probe.
            if pause < interval || self.proof.age(self.clock.now()) >= interval / 2 {
                return;
            }
            self.tell(News::Probed { generation: self.generation, result: Ok(()) }).await;
            next = Instant::now() + interval;
        }
    }

    /// One round trip and one probe: whether the target is healthy, or why the session
    /// is as good as lost. A suspect is asked before all others and has less time.
    async fn look(
        &self,
        check: Option<&HealthCheck>,
        session: &dyn Session,
        suspect: bool,
    ) -> Result<bool, Problem> {
        let generation = self.generation;
        let patience = if suspect { SUSPECT_DEADLINE } else { PING_DEADLINE };
        let ping = async {
            match timeout(patience, session.ping()).await {
                Ok(answered) => answered,
                Err(_) => Err(self.silent(patience)),
            }
        };
        let (_permit, round_trip) = if suspect {
            // No turn is waited for: a thousand sessions are suspects together.
            (None, ping.await?)
        } else {
            // Never closed; a closed one would only mean that nothing limits the probes.
            (self.probes.acquire().await.ok(), ping.await?)
        };
        self.tell(News::Pinged { generation, round_trip }).await;
        let deadline = check.map_or(PROBE_DEADLINE, |check| check.timeout);
        let result = match timeout(deadline, session.probe()).await {
            Ok(probed) => probed.map(|_| ()),
            Err(_) => Err(self.unanswered(deadline)),
        };
        let healthy = result.is_ok();
        self.tell(News::Probed { generation, result }).await;
        Ok(healthy)
    }

    fn silent(&self, patience: Duration) -> Problem {
        let (code, place) = match &self.spec.target {
            Target::Ssh(ssh) => (Code::SshFrozen, ssh.destination()),
            Target::Kube(kube) => {
                let context = kube.context.as_deref().unwrap_or("the current context");
                (Code::KubeUnreachable, context.to_owned())
            }
        };
        let seconds = patience.as_secs();
        Problem::new(
            code,
            format!("`{place}` has not answered for `{seconds}` s"),
            "Check the network and the VPN; the session is opened again by itself",
        )
    }

    fn unanswered(&self, deadline: Duration) -> Problem {
        let (target, seconds) = (self.spec.target_words(), deadline.as_secs_f64());
        Problem::new(
            Code::TargetTimeout,
            format!("`{target}` did not accept a connection within `{seconds}` s"),
            "Check that the service runs and is not overloaded",
        )
    }

    async fn tell(&self, news: News) {
        // A supervisor that is gone has cancelled this task as well.
        let _ = self.news.send(news).await;
    }
}

/// Resolves when the session is to be treated so.
async fn asked(care: &mut watch::Receiver<Care>, so: impl Fn(&Care) -> bool) {
    if care.wait_for(so).await.is_err() {
        // The attempt is over and ends this task.
        std::future::pending::<()>().await;
    }
}

/// Time between proofs of a target.
pub(super) fn interval(check: Option<&HealthCheck>) -> Duration {
    check.map_or(PROBE_INTERVAL, |check| check.interval)
}
