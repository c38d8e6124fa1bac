//! Owns the word of the desktop's session manager (GNOME's interface, which MATE and
//! Cinnamon share) about a logout, and the answer that it waits for.

use super::logind::signals;
use crate::Notice;
use crate::done::{Done, Kept};
use crate::holdings::List;
use crate::services::{Say, Unsettled};
use futures_util::StreamExt;
use localport_core::lifecycle::{LifecycleEvent, SessionEnd};
use std::future::pending;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use zbus::{Connection, OwnedObjectPath};

const MANAGER: &str = "org.gnome.SessionManager";
const PATH: &str = "/org/gnome/SessionManager";
const CLIENT: &str = "org.gnome.SessionManager.ClientPrivate";
const BUS: &str = "org.freedesktop.DBus";

/// Time for open connections at a logout: a person waits for it, and what outlives the
/// session is killed with it.
const WITHIN: Duration = Duration::from_secs(4);
/// Time when the manager only says that it is over.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Takes part in the session, if it has a manager.
pub(crate) async fn watch(say: Say, busy: Unsettled, list: List) {
    if let Err(error) = follow(&say, busy, &list).await {
        tracing::info!("no session manager tells of a logout: {error}");
    }
}

async fn follow(say: &Say, busy: Unsettled, list: &List) -> zbus::Result<()> {
    let bus = Connection::session().await?;
    let _name = list.hold_name(&bus, "session");
    let owned =
        bus.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "NameHasOwner", &MANAGER);
    // Asking a name without owner would start a service that nobody wanted.
    if !owned.await?.body().deserialize::<bool>()? {
        tracing::debug!("there is no `{MANAGER}` in this session");
        return Ok(());
    }
    let mut queries = signals(&bus, MANAGER, CLIENT, "QueryEndSession", None).await?;
    let mut ends = signals(&bus, MANAGER, CLIENT, "EndSession", None).await?;
    let mut cancels = signals(&bus, MANAGER, CLIENT, "CancelEndSession", None).await?;
    let mut stops = signals(&bus, MANAGER, CLIENT, "Stop", None).await?;
    // The session manager tells autostarted programs which of its clients they are.
    let startup = std::env::var("DESKTOP_AUTOSTART_ID").unwrap_or_default();
    let registered = bus
        .call_method(Some(MANAGER), PATH, Some(MANAGER), "RegisterClient", &("localport", startup))
        .await?;
    let client = Client { path: registered.body().deserialize()?, bus };
    drop(busy);
    let mut answer: Option<Answer> = None;
    loop {
        let notice = tokio::select! {
            Some(query) = queries.next() => {
                // Only a question: nothing of LocalPort speaks against a logout.
                if client.is_meant(&query?) {
                    client.agree().await?;
                }
                continue;
            }
            Some(end) = ends.next() => {
                if !client.is_meant(&end?) {
                    continue;
                }
                let (notice, waiting) = ending(WITHIN);
                answer = Some(waiting);
                notice
            }
            Some(stop) = stops.next() => {
                if !client.is_meant(&stop?) {
                    continue;
                }
                ending(AT_ONCE).0
            }
            Some(cancel) = cancels.next() => {
                if !client.is_meant(&cancel?) {
                    continue;
                }
                answer = None;
                Notice::of(LifecycleEvent::SessionEndCancelled)
            }
            () = released(&mut answer) => {
                answer = None;
                client.agree().await?;
                continue;
            }
            else => return Ok(()),
        };
        if say.send(notice).await.is_err() {
            return Ok(());
        }
    }
}

/// The end of the session, and what tells that LocalPort is done with it.
fn ending(within: Duration) -> (Notice, Answer) {
    let (held, released) = oneshot::channel();
    let event = LifecycleEvent::SessionEnding { end: SessionEnd::Logout, within };
    let notice = Notice { event, done: Done::holding(Kept::new(held)) };
    (notice, Answer { released, until: Instant::now() + within })
}

/// An answer that the session manager waits for.
struct Answer {
    released: oneshot::Receiver<()>,
    until: Instant,
}

/// Resolves when the answer is due; never without one.
async fn released(answer: &mut Option<Answer>) {
    match answer {
        // Nothing is ever sent: dropping the other end is the word.
        Some(Answer { released, until }) => drop(timeout_at(*until, released).await),
        None => pending().await,
    }
}

/// LocalPort as the session manager knows it. It forgets a client that leaves the bus.
struct Client {
    bus: Connection,
    path: OwnedObjectPath,
}

impl Client {
    fn is_meant(&self, signal: &zbus::Message) -> bool {
        signal.header().path().is_some_and(|path| *path == *self.path)
    }

    async fn agree(&self) -> zbus::Result<()> {
        self.bus
            .call_method(
                Some(MANAGER),
                &*self.path,
                Some(CLIENT),
                "EndSessionResponse",
                &(true, ""),
            )
            .await
            .map(drop)
    }
}
