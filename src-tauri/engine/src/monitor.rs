//! Owns the watch over the clusters in use: one task for all of them.
//!
//! Receives which clusters are in use, what the probes' token wants and whether the machine
//! sleeps; asks each cluster when `core::cluster` says so, follows its nodes and warnings
//! while it answers, emits what it sees. A pause, a sleep or the end drops every question
//! and every watch at once.

mod book;

pub(crate) use book::Book;

use crate::adapter::Adapter;
use crate::adapter::overlook::{Found, Look, Missed, Subject};
use crate::engine::rest::Pulse;
use crate::handle::Clock;
use crate::probe::scheduler::Wish;
use crate::registry::Tasks;
use crate::supervisor::{Report, jitter};
use localport_core::cluster::{Cluster, Conditions, Input, Settings};
use localport_core::config::Target;
use localport_core::snapshot::LoginNeeded;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Orders and findings that wait before their sender waits itself.
const QUEUE: usize = 256;

/// What the monitor is started with.
pub(crate) struct Options {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) pulse: watch::Receiver<Pulse>,
    pub(crate) reports: mpsc::Sender<Report>,
}

/// The one monitor of an engine. Clones share it.
#[derive(Clone)]
pub(crate) struct Monitor {
    orders: mpsc::Sender<Order>,
    book: Book,
}

/// One cluster in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Use {
    /// What one of the forwards through it leads to, which says the way there.
    pub(crate) target: Target,
    pub(crate) namespaces: BTreeSet<String>,
    pub(crate) settings: Settings,
}

enum Order {
    /// These clusters are in use, and no others.
    Watch(BTreeMap<String, Use>),
    /// Something gives reason to look at this cluster.
    Suspect(String),
}

impl Monitor {
    /// Starts the monitor's task, unless the adapter cannot see clusters as a whole.
    pub(crate) fn start(options: Options) -> Self {
        let (orders, orders_in) = mpsc::channel(QUEUE);
        let book = Book::default();
        if options.adapter.oversees() {
            let (told, told_in) = mpsc::channel(QUEUE);
            let tasks = options.tasks.clone();
            let table = Table {
                work: tasks.child("monitor"),
                quiet: false,
                entries: BTreeMap::new(),
                runs: 0,
                told,
                book: book.clone(),
                options,
            };
            tasks.spawn("cluster monitor", table.run(orders_in, told_in));
        }
        Self { orders, book }
    }

    /// Where warnings are kept.
    pub(crate) fn book(&self) -> Book {
        self.book.clone()
    }

    /// Watches these clusters, and no others. Whether that was taken down.
    pub(crate) fn watch(&self, clusters: BTreeMap<String, Use>) -> bool {
        // Without a task nobody listens, and nobody need ask again.
        !matches!(
            self.orders.try_send(Order::Watch(clusters)),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// Something gives reason to look at this cluster now.
    pub(crate) fn suspect(&self, context: &str) {
        // Full, it is looked at soon enough.
        let _ = self.orders.try_send(Order::Suspect(context.to_owned()));
    }
}

/// What a task of the monitor brings.
struct Told {
    context: String,
    run: u64,
    what: What,
}

enum What {
    Looked(Result<Look, Missed>),
    Followed(Subject, Found),
}

struct Entry {
    used: Use,
    cluster: Cluster,
    /// Its watches while they run, and which they are.
    follows: Option<(Tasks, u64)>,
    /// The look under way.
    look: Option<u64>,
    unseen: BTreeMap<Subject, String>,
}

struct Table {
    options: Options,
    /// Looks and watches: one group between two pauses.
    work: Tasks,
    quiet: bool,
    entries: BTreeMap<String, Entry>,
    runs: u64,
    told: mpsc::Sender<Told>,
    book: Book,
}

impl Table {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut told: mpsc::Receiver<Told>) {
        let (mut wish, mut pulse) = (self.options.wish.clone(), self.options.pulse.clone());
        let mut seen = *pulse.borrow_and_update();
        loop {
            let next = self.entries.values().filter(|entry| entry.look.is_none());
            let next = next.filter_map(|entry| entry.cluster.due()).min();
            let next = next.map(|at| self.options.clock.instant(at));
            let mut changed = vec![];
            tokio::select! {
                biased;
                alive = wish.changed() => {
                    if alive.is_err() || *wish.borrow_and_update() == Wish::Stop {
                        break;
                    }
                }
                alive = pulse.changed() => {
                    if alive.is_err() {
                        break;
                    }
                    let now = *pulse.borrow_and_update();
                    if (now.wakes, now.changes) != (seen.wakes, seen.changes) {
                        // Watches from before may be dead without a word.
                        changed.extend(self.rest(true));
                    }
                    seen = now;
                }
                told = told.recv() => changed.extend(told.and_then(|told| self.hear(told))),
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            let quiet = *wish.borrow() != Wish::Run || seen.asleep;
            if quiet != self.quiet {
                changed.extend(self.rest(quiet));
            }
            self.begin();
            for context in changed {
                self.report(&context).await;
            }
        }
        self.work.cancel();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Watch(clusters) => {
                self.entries.retain(|context, _| clusters.contains_key(context));
                self.book.keep(|context| clusters.contains_key(context));
                let now = self.options.clock.now();
                for (context, used) in clusters {
                    match self.entries.get_mut(&context) {
                        Some(entry) if entry.used == used => {}
                        Some(entry) => {
                            entry.used = used;
                            entry.end_follows();
                        }
                        None => {
                            let mut entry = Entry::new(used, Cluster::new(now));
                            if self.quiet {
                                let on = conditions(now, &entry.used.settings);
                                entry.cluster = Cluster::default().step(Input::Paused, on);
                            }
                            self.entries.insert(context, entry);
                        }
                    }
                }
            }
            Order::Suspect(context) => self.step(&context, Input::Suspected),
        }
    }

    /// Drops all looks and watches; begins anew unless it is to be quiet. Gives the
    /// clusters that look different now.
    fn rest(&mut self, quiet: bool) -> Vec<String> {
        self.work.cancel();
        self.work = self.options.tasks.child("monitor");
        self.quiet = quiet;
        let contexts: Vec<String> = self.entries.keys().cloned().collect();
        for context in &contexts {
            if let Some(entry) = self.entries.get_mut(context) {
                (entry.follows, entry.look) = (None, None);
            }
            self.step(context, if quiet { Input::Paused } else { Input::Resumed });
        }
        contexts
    }

    fn step(&mut self, context: &str, input: Input) {
        let now = self.options.clock.now();
        if let Some(entry) = self.entries.get_mut(context) {
            let on = conditions(now, &entry.used.settings);
            entry.cluster = std::mem::take(&mut entry.cluster).step(input, on);
        }
    }

    /// Begins the looks that are due, and the watches of clusters that answer; ends those
    /// of clusters that do not.
    fn begin(&mut self) {
        let now = self.options.clock.now();
        let contexts: Vec<String> = self.entries.keys().cloned().collect();
        for context in contexts {
            let Some(entry) = self.entries.get(&context) else { continue };
            let due = entry.cluster.due().is_some_and(|due| due <= now);
            let (open, follows) = (entry.is_open(self.quiet), entry.follows.is_some());
            if due && entry.look.is_none() {
                self.look(&context);
            }
            if open && !follows {
                self.follow(&context);
            }
            if let Some(entry) = self.entries.get_mut(&context).filter(|_| !open) {
                entry.end_follows();
            }
        }
    }

    fn look(&mut self, context: &str) {
        self.step(context, Input::Begun);
        self.runs += 1;
        let run = self.runs;
        let Some(entry) = self.entries.get_mut(context) else { return };
        if !entry.used.settings.api {
            // Nothing is asked; the watches alone tell, and the forwards.
            return;
        }
        entry.look = Some(run);
        let (limit, adapter) = (entry.used.settings.timeout, self.options.adapter.clone());
        let (context, target) = (context.to_owned(), entry.used.target.clone());
        let told = self.told.clone();
        self.work.spawn(format!("look at {context}"), async move {
            let looked = adapter.look(&target, limit).await;
            // A monitor that is gone has dropped this as well.
            let _ = told.send(Told { context, run, what: What::Looked(looked) }).await;
        });
    }

    fn follow(&mut self, context: &str) {
        self.runs += 1;
        let run = self.runs;
        let Some(entry) = self.entries.get_mut(context) else { return };
        let group = self.work.child("monitor");
        for subject in entry.subjects() {
            let (adapter, told) = (self.options.adapter.clone(), self.told.clone());
            let (found, mut found_in) = mpsc::channel(QUEUE);
            let (context, target) = (context.to_owned(), entry.used.target.clone());
            group.spawn(format!("follow {subject:?} of {context}"), async move {
                let following = adapter.follow(&target, subject.clone(), found);
                let telling = async {
                    while let Some(found) = found_in.recv().await {
                        let what = What::Followed(subject.clone(), found);
                        let told = told.send(Told { context: context.clone(), run, what }).await;
                        if told.is_err() {
                            break;
                        }
                    }
                };
                tokio::join!(following, telling);
            });
        }
        entry.follows = Some((group, run));
    }

    /// Takes in what a task brings; gives the cluster that looks different now.
    fn hear(&mut self, told: Told) -> Option<String> {
        let Told { context, run, what } = told;
        let now = self.options.clock.now();
        let entry = self.entries.get_mut(&context)?;
        let input = match what {
            What::Looked(_) if entry.look != Some(run) => return None,
            What::Followed(..) if entry.follows.as_ref().is_none_or(|(_, of)| *of != run) => {
                return None;
            }
            What::Looked(Ok(look)) => {
                entry.look = None;
                let warnings = self.book.expire(&context, now);
                self.step(&context, Input::Warned(warnings));
                Input::Answered { took: look.took, expires: look.expires }
            }
            What::Looked(Err(missed)) => {
                entry.look = None;
                let Missed { problem, login } = missed;
                let command = &entry.used.settings.login_command;
                Input::Failed { problem, login: login.map(|login| with(login, command)) }
            }
            What::Followed(_, Found::Nodes(nodes)) => Input::Nodes(Some(nodes)),
            What::Followed(_, Found::Warning(name, event)) => {
                self.book.put(&context, name, event);
                Input::Warned(self.book.expire(&context, now))
            }
            What::Followed(_, Found::Broken) => Input::Suspected,
            What::Followed(subject, Found::Visible) => {
                entry.unseen.remove(&subject)?;
                Input::Unseen(entry.unseen.values().cloned().collect())
            }
            What::Followed(subject, Found::Unseen(sentence)) => {
                entry.unseen.insert(subject.clone(), sentence);
                let unseen = Input::Unseen(entry.unseen.values().cloned().collect());
                if subject == Subject::Nodes {
                    self.step(&context, Input::Nodes(None));
                }
                unseen
            }
        };
        self.step(&context, input);
        Some(context)
    }

    async fn report(&self, context: &str) {
        if let Some(entry) = self.entries.get(context) {
            let sight = Box::new(entry.cluster.sight().clone());
            // An engine that is gone needs no report.
            let _ = self
                .options
                .reports
                .send(Report::Sight { context: context.to_owned(), sight })
                .await;
        }
    }
}

impl Entry {
    fn new(used: Use, cluster: Cluster) -> Self {
        Self { used, cluster, follows: None, look: None, unseen: BTreeMap::new() }
    }

    /// Whether its watches are of use; where it is not asked itself, they alone tell.
    fn is_open(&self, quiet: bool) -> bool {
        let asked = self.used.settings.api;
        self.cluster.is_open() || (!asked && !quiet && self.cluster.sight().problem.is_none())
    }

    fn subjects(&self) -> Vec<Subject> {
        let nodes = self.used.settings.nodes.then_some(Subject::Nodes);
        let namespaces = self.used.namespaces.iter().filter(|_| self.used.settings.events);
        let warnings =
            namespaces.map(|namespace| Subject::Warnings { namespace: namespace.clone() });
        nodes.into_iter().chain(warnings).collect()
    }

    fn end_follows(&mut self) {
        if let Some((group, _)) = self.follows.take() {
            group.cancel();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end_follows();
    }
}

/// The log-in, by the configured command where there is one.
fn with(login: LoginNeeded, command: &[String]) -> LoginNeeded {
    let configured = (!command.is_empty()).then(|| command.join(" "));
    LoginNeeded { command: configured.or(login.command), ..login }
}

fn conditions(now: localport_core::time::Timestamp, settings: &Settings) -> Conditions<'_> {
    Conditions { now, settings, jitter: jitter() }
}
