//! Owns what the engine has to do with clusters as a whole: which are in use and how they
//! are watched, what their return means for those who wait, and log-ins.

use super::{Engine, Reply};
use crate::monitor::{Monitor, Use};
use crate::supervisor::{Order, view};
use localport_core::cluster::{Settings, Sight};
use localport_core::command::{Done, Refusal, Selector};
use localport_core::config::Target;
use localport_core::graph;
use localport_core::problem::{Code, Scope};
use localport_core::snapshot::{ForwardState, Phase, Reach, Snapshot, Technology};
use localport_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Time a person has to log in: to find the browser window, the second factor and the
/// telephone.
const LOGIN_LIMIT: Duration = Duration::from_secs(300);

/// The engine's side of the monitor.
pub(super) struct Oversight {
    monitor: Monitor,
    used: BTreeMap<String, Use>,
    /// The newest trouble of each context that the monitor was told of.
    suspected: BTreeMap<String, Timestamp>,
    /// Contexts that a person logs in to now.
    logins: Arc<Mutex<BTreeSet<String>>>,
}

impl Oversight {
    pub(super) fn new(monitor: Monitor) -> Self {
        let (used, suspected) = (BTreeMap::new(), BTreeMap::new());
        Self { monitor, used, suspected, logins: Arc::default() }
    }
}

impl Engine {
    /// Tells the monitor which clusters are in use, and which a forward has lost.
    pub(super) fn oversee(&mut self, snapshot: &Snapshot) {
        let used = self.in_use(snapshot);
        if used != self.oversight.used && self.oversight.monitor.watch(used.clone()) {
            self.board.places.sights.retain(|context, _| used.contains_key(context));
            self.oversight.suspected.retain(|context, _| used.contains_key(context));
            self.oversight.used = used;
        }
        for forward in &snapshot.forwards {
            let about = forward.problem.as_ref().map(|problem| problem.code.scope());
            let place = about == Some(Scope::Place) && graph::is_troubled(forward);
            if !place || !self.oversight.used.contains_key(&forward.context) {
                continue;
            }
            let told = self.oversight.suspected.entry(forward.context.clone()).or_default();
            if forward.since > *told {
                *told = forward.since;
                self.oversight.monitor.suspect(&forward.context);
            }
        }
    }

    fn in_use(&self, snapshot: &Snapshot) -> BTreeMap<String, Use> {
        let mut used: BTreeMap<String, Use> = BTreeMap::new();
        if matches!(snapshot.phase, Phase::Stopped) {
            return used;
        }
        let on = snapshot.forwards.iter().filter(|forward| {
            forward.technology == Technology::Kubectl && forward.state != ForwardState::Stopped
        });
        let specs = on.filter_map(|forward| self.board.find(&forward.name));
        for entry in specs.filter_map(|id| self.board.entry(id)) {
            let Target::Kube(target) = &entry.spec.target else { continue };
            let context = view::context(&entry.spec);
            if !used.contains_key(&context) {
                let Some(settings) = Settings::of(&self.config, &context) else { continue };
                let (target, namespaces) = (entry.spec.target.clone(), BTreeSet::new());
                used.insert(context.clone(), Use { target, namespaces, settings });
            }
            if let Some(found) = used.get_mut(&context) {
                found.namespaces.insert(target.namespace.clone());
            }
        }
        used
    }

    /// What the monitor sees of a cluster now. One that is back has everything retried
    /// that waits for it.
    pub(super) fn seen(&mut self, context: String, sight: Sight) {
        if !self.oversight.used.contains_key(&context) {
            return;
        }
        let before = self.board.places.sights.insert(context.clone(), sight.clone());
        let away = before.is_some_and(|before| graph::is_away(before.reach));
        if away && sight.reach == Reach::Reachable {
            self.retry_waiting(&context);
        }
    }

    /// Makes the next attempt due now for those whose trouble was the whole place's.
    fn retry_waiting(&mut self, context: &str) {
        let waiting: Vec<String> = {
            let snapshot = self.snapshot.borrow();
            let through = snapshot.forwards.iter().filter(|f| f.context == context);
            let place = |code: Code| code.scope() == Scope::Place;
            let waits = through.filter(|forward| {
                matches!(forward.state, ForwardState::BackingOff | ForwardState::Failed)
                    && forward.problem.as_ref().is_some_and(|problem| place(problem.code))
            });
            waits.map(|forward| forward.name.clone()).collect()
        };
        for id in waiting.iter().filter_map(|name| self.board.find(name)) {
            if let Some(entry) = self.board.entry(id).filter(|entry| entry.has_room(1)) {
                entry.tell(Order::RetryNow);
            }
        }
    }

    /// A person has the forwards tried again: what waits for a person is tried once, too.
    pub(super) fn permit(&self, order: &Order, forwards: &[String]) {
        if !matches!(order, Order::RetryNow | Order::Restart | Order::Start) {
            return;
        }
        let ids = forwards.iter().filter_map(|name| self.board.find(name));
        let specs = ids.filter_map(|id| Some(&self.board.entry(id)?.spec));
        let clusters = specs.filter(|spec| matches!(spec.target, Target::Kube(_)));
        let contexts: BTreeMap<String, &Target> =
            clusters.map(|spec| (view::context(spec), &spec.target)).collect();
        for (context, target) in contexts {
            self.adapters[1].asked(target);
            self.oversight.monitor.suspect(&context);
        }
    }

    /// A log-in takes as long as a person does, so it runs beside the loop; then everything
    /// is retried that waits for it.
    pub(super) fn login(&mut self, context: String, reply: Reply) {
        let selector = Selector::Context(context.clone());
        let ids = match self.board.select(&selector) {
            Ok(ids) => ids,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let entries: Vec<_> = ids.into_iter().filter_map(|id| self.board.entry(id)).collect();
        let Some(login) = self.oversight.begin_login(&context, &self.shared.changed) else {
            let sentence = format!("a log-in to `{context}` is under way");
            let _ = reply.send(Err(Refusal::NotNow { sentence }));
            return;
        };
        let Some(target) = entries.first().map(|entry| entry.spec.target.clone()) else { return };
        let adapter = self.adapter(&target);
        let names: Vec<String> = entries.iter().map(|entry| entry.spec.name.clone()).collect();
        let orders: Vec<_> = entries.iter().filter_map(|entry| entry.orders.clone()).collect();
        let own = self.config.cluster_contexts.get(&context);
        let command = own.map(|own| own.login_command.clone()).unwrap_or_default();
        let monitor = self.oversight.monitor.clone();
        self.supervisors.spawn(format!("log-in to {context}"), async move {
            let outcome = adapter.login(&target, &command, LOGIN_LIMIT).await;
            drop(login);
            let answer = match outcome {
                Ok(message) => {
                    monitor.suspect(&context);
                    for orders in orders {
                        // A supervisor that is gone ends with the engine.
                        let _ = orders.send(Order::RetryNow).await;
                    }
                    Ok(Done { forwards: names, message: Some(message) })
                }
                Err(problem) => Err(Refusal::NotNow { sentence: problem.sentence }),
            };
            // Whoever asked may have gone; what was asked stands.
            let _ = reply.send(answer);
        });
        self.stale.mark(Duration::ZERO);
    }
}

impl Oversight {
    fn begin_login(&self, context: &str, changed: &Arc<Notify>) -> Option<Login> {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let (context, changed) = (context.to_owned(), changed.clone());
        let begins = logins.insert(context.clone());
        begins.then(|| Login { logins: self.logins.clone(), context, changed })
    }

    /// Marks the log-ins that run now.
    pub(super) fn mark(&self, snapshot: &mut Snapshot) {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        for context in &mut snapshot.contexts {
            if let Some(login) = &mut context.login {
                login.running = logins.contains(&context.name);
            }
        }
    }
}

/// A log-in under way, until it is dropped.
struct Login {
    logins: Arc<Mutex<BTreeSet<String>>>,
    context: String,
    /// Has the snapshot written again.
    changed: Arc<Notify>,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.context);
        self.changed.notify_one();
    }
}
