//! Owns the sources that run beside the signals, one task each, and what they say.
//!
//! Dropping it ends the tasks, and with them every connection, lock and registration
//! that they hold.

use crate::holdings::{Holdings, List};
use crate::{Host, Notice};
use localport_core::lifecycle::LifecycleEvent;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Notices that wait for the host; more would only be older.
const WAITING: usize = 16;

/// Two words of a wake within this time are one: the clocks and the system tell of the
/// same sleep, up to seconds apart while the machine is still thawing.
const SAME_WAKE: Duration = Duration::from_secs(5);

/// Where sources say what they learnt.
pub(crate) type Say = mpsc::Sender<Notice>;

/// A source that has not settled yet: dropped when it holds all that it will hold.
pub(crate) type Unsettled = mpsc::Sender<()>;

/// The sources in their tasks.
pub(crate) struct Services {
    said: mpsc::Receiver<Notice>,
    unsettled: mpsc::Receiver<()>,
    holdings: List,
    woke: Option<Instant>,
    #[cfg(windows)]
    _window: Option<crate::windows::window::Window>,
    #[cfg(target_os = "macos")]
    _workspace: Option<crate::macos::workspace::Workspace>,
    _tasks: JoinSet<()>,
}

impl Services {
    pub(crate) fn start(host: Host) -> Self {
        let (say, said) = mpsc::channel(WAITING);
        let (busy, unsettled) = mpsc::channel(1);
        let holdings = List::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(crate::clock::watch(say.clone(), busy.clone()));
        #[cfg(target_os = "linux")]
        {
            let list = || holdings.clone();
            tasks.spawn(crate::linux::logind::watch(say.clone(), busy.clone(), list()));
            tasks.spawn(crate::linux::network::watch(say.clone(), busy.clone()));
            if host == Host::Desktop {
                tasks.spawn(crate::linux::session::watch(say, busy, list()));
            }
        }
        #[cfg(target_os = "macos")]
        tasks.spawn(crate::macos::network::watch(say.clone(), busy));
        #[cfg(windows)]
        tasks.spawn(crate::windows::network::watch(say.clone(), busy));
        Self {
            said,
            unsettled,
            holdings,
            woke: None,
            #[cfg(windows)]
            _window: open_window(host, say),
            #[cfg(target_os = "macos")]
            _workspace: (host == Host::Desktop)
                .then(|| crate::macos::workspace::Workspace::watch(say)),
            _tasks: tasks,
        }
    }

    /// Resolves when every source has settled or given up.
    pub(crate) async fn settled(&mut self) {
        while self.unsettled.recv().await.is_some() {}
    }

    pub(crate) fn holdings(&self) -> watch::Receiver<Holdings> {
        self.holdings.follow()
    }

    pub(crate) async fn next(&mut self) -> Notice {
        loop {
            let Some(notice) = self.said.recv().await else { pending().await };
            match notice.event {
                LifecycleEvent::DidWake { .. } if self.woke.is_some_and(is_the_same) => {}
                LifecycleEvent::DidWake { .. } => {
                    self.woke = Some(Instant::now());
                    return notice;
                }
                LifecycleEvent::WillSleep { .. } => {
                    self.woke = None;
                    return notice;
                }
                _ => return notice,
            }
        }
    }
}

/// Both hosts have it: a headless one learns of the session's end in no other way.
#[cfg(windows)]
fn open_window(_: Host, say: Say) -> Option<crate::windows::window::Window> {
    crate::windows::window::Window::open(say)
        .inspect_err(|error| tracing::warn!("sleep and logout are not watched: {error}"))
        .ok()
}

fn is_the_same(woke: Instant) -> bool {
    woke.elapsed() < SAME_WAKE
}
