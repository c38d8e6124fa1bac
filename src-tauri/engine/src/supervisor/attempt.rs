//! Owns one attempt at a session: opening it and watching it.

use super::{News, Shared, Supervisor};
use crate::adapter::{Adapter, Session, SessionScope};
use crate::client::{LastProof, Live};
use crate::registry::{LeaseKind, Tasks};
use localport_core::config::ForwardSpec;
use localport_core::event::Kind;
use localport_core::problem::Problem;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Lines an adapter may say before they are dropped.
const NOTES: usize = 32;

/// An attempt in progress or in use. Dropping it ends its tasks and its session.
pub(super) struct Attempt {
    tasks: Tasks,
    users: TaskTracker,
    retired: CancellationToken,
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
            users: users.clone(),
            retired: retired.clone(),
            adapter: supervisor.adapter.clone(),
            scope: SessionScope {
                forward: supervisor.spec.name.clone(),
                tasks: tasks.clone(),
                notes,
            },
            news: supervisor.news.clone(),
            proof: Arc::new(LastProof::new(supervisor.check.settings.interval / 4)),
        };
        tasks.spawn("session", runner.run());
        Self { tasks, users, retired }
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
    users: TaskTracker,
    retired: CancellationToken,
    adapter: Arc<dyn Adapter>,
    scope: SessionScope,
    news: mpsc::Sender<News>,
    proof: Arc<LastProof>,
}

impl Runner {
    async fn run(self) {
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

    async fn tell(&self, news: News) {
        // A supervisor that is gone has cancelled this task as well.
        let _ = self.news.send(news).await;
    }
}
