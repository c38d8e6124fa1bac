//! Linux: the desktop's notification server over D-Bus, whichever there is.
//!
//! No server, one without buttons, one that hangs, dies or is another than before: the
//! message is lost at worst, and the tray still says it.

use super::{Answer, DEFAULT, buttons};
use localport_core::notify::{Key, Message, Urgency};
use localport_engine::registry::{Lease, LeaseKind, Tasks};
use notify_rust::{Hint, Notification, NotificationHandle, NotificationResponse};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zbus::Connection;

/// A server that does not answer in this time is passed over; one that the bus starts
/// first needs a part of it.
const SERVER_BUDGET: Duration = Duration::from_secs(3);

/// A server that is asked to take a message away need not say that it did; the end of
/// LocalPort waits for this.
const CLOSE_BUDGET: Duration = Duration::from_millis(300);

const SERVER: &str = "org.freedesktop.Notifications";
const BUS: &str = "org.freedesktop.DBus";

/// Name of the installed icon and of the desktop file, by which desktops group messages.
const ICON: &str = "localport-desktop";
const DESKTOP_FILE: &str = "LocalPort";

/// Connections kept at most: each message has its own, see [`Screen::kept`].
const KEPT: usize = 32;

/// What is shown, and by whom.
pub(super) struct Screen {
    tasks: Tasks,
    say: mpsc::Sender<Answer>,
    server: Option<Server>,
    bubbles: BTreeMap<Key, Bubble>,
    /// Some desktops take all of an app's messages away when the first connection goes
    /// that it spoke over, so none goes while a message may be there.
    kept: Vec<Arc<NotificationHandle>>,
}

/// The notification server that runs now.
struct Server {
    bus: Connection,
    /// Its unique name on the bus: another one knows nothing of our messages.
    owner: String,
    buttons: bool,
    markup: bool,
    _lease: Lease,
}

/// One message on the screen.
struct Bubble {
    handle: Arc<NotificationHandle>,
    owner: String,
    /// Ends the wait for its answer.
    wait: CancellationToken,
}

impl Drop for Bubble {
    fn drop(&mut self) {
        self.wait.cancel();
    }
}

impl Screen {
    /// A screen with nothing on it; what a person does there is said to `say`.
    pub(super) fn new(tasks: Tasks, say: mpsc::Sender<Answer>) -> Self {
        Self { tasks, say, server: None, bubbles: BTreeMap::new(), kept: vec![] }
    }

    /// Shows `message` in place of the one under its key.
    pub(super) async fn show(&mut self, message: Message) {
        match timeout(SERVER_BUDGET, self.try_show(&message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::info!("`{}` is not shown: {error}", message.title);
                self.server = None;
            }
            Err(_) => {
                tracing::warn!(
                    "`{}` is not shown: the notification server is silent",
                    message.title
                );
                self.server = None;
            }
        }
    }

    /// Takes away the message under `key`, if its server still shows it.
    pub(super) async fn withdraw(&mut self, key: &Key) {
        if let Some(bubble) = self.bubbles.remove(key) {
            bubble.wait.cancel();
            let gone = timeout(CLOSE_BUDGET, bubble.handle.close_async()).await;
            tracing::debug!(key = key.name(), in_time = gone.is_ok(), "withdrawn");
        }
        if self.bubbles.is_empty() {
            self.kept.clear();
            self.server = None;
        }
    }

    async fn try_show(&mut self, message: &Message) -> Result<(), Failure> {
        let server = self.server().await?;
        let (owner, mut shown) = (server.owner.clone(), compose(message, server));
        let before = self.bubbles.remove(&message.key).filter(|bubble| bubble.owner == owner);
        if let Some(bubble) = &before {
            shown.id(bubble.handle.id());
        }
        let handle = Arc::new(shown.show_async().await?);
        // From here on the new connection hears the answer, the old one must not.
        drop(before);
        self.keep(handle.clone());
        let wait = CancellationToken::new();
        self.tasks.spawn(
            format!("answer to `{}`", message.title),
            listen(handle.clone(), message.key.clone(), self.say.clone(), wait.clone()),
        );
        self.bubbles.insert(message.key.clone(), Bubble { handle, owner, wait });
        Ok(())
    }

    fn keep(&mut self, handle: Arc<NotificationHandle>) {
        self.kept.push(handle);
        if self.kept.len() > KEPT {
            // The first one is the one that counts.
            self.kept.remove(1);
        }
    }

    /// The server that runs now; starts one where the bus knows how to.
    async fn server(&mut self) -> Result<&Server, Failure> {
        let known = self.server.take();
        let bus = match &known {
            Some(server) => server.bus.clone(),
            None => Connection::session().await?,
        };
        let server = match (owner(&bus).await, known) {
            (Ok(owner), Some(known)) if known.owner == owner => known,
            _ => {
                let (buttons, markup) = capabilities(&bus).await?;
                let owner = owner(&bus).await?;
                let lease = self.tasks.lease(LeaseKind::BusName, SERVER, "notifications", vec![]);
                Server { bus, owner, buttons, markup, _lease: lease }
            }
        };
        Ok(self.server.insert(server))
    }
}

/// Why a message is not shown.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// There is no bus, or nobody on it who shows messages.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
    /// The server did not take it.
    #[error(transparent)]
    Server(#[from] notify_rust::error::Error),
}

async fn owner(bus: &Connection) -> zbus::Result<String> {
    let reply =
        bus.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), "GetNameOwner", &SERVER);
    reply.await?.body().deserialize()
}

/// Whether the server shows buttons, and whether it reads markup.
async fn capabilities(bus: &Connection) -> zbus::Result<(bool, bool)> {
    let path = "/org/freedesktop/Notifications";
    let reply = bus.call_method(Some(SERVER), path, Some(SERVER), "GetCapabilities", &()).await?;
    let known: Vec<String> = reply.body().deserialize()?;
    let has = |name: &str| known.iter().any(|known| known == name);
    Ok((has("actions"), has("body-markup")))
}

fn compose(message: &Message, server: &Server) -> Notification {
    let mut shown = Notification::new();
    let body = if server.markup { escape(&message.body) } else { message.body.clone() };
    shown
        .appname("LocalPort")
        .summary(&message.title)
        .body(&body)
        .icon(ICON)
        .hint(Hint::DesktopEntry(DESKTOP_FILE.to_owned()))
        .hint(Hint::Category("network".to_owned()))
        .urgency(match message.urgency {
            Urgency::Low => notify_rust::Urgency::Low,
            Urgency::Normal => notify_rust::Urgency::Normal,
        });
    if server.buttons {
        shown.action(DEFAULT, "Open");
        for (id, label) in buttons(message) {
            shown.action(id, label);
        }
    }
    shown
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Waits for what a person does with a message, and says it.
async fn listen(
    handle: Arc<NotificationHandle>,
    key: Key,
    say: mpsc::Sender<Answer>,
    wait: CancellationToken,
) {
    let answered = handle.wait_for_action_async(|response: &NotificationResponse| {
        let button = match response {
            NotificationResponse::Default => DEFAULT.to_owned(),
            NotificationResponse::Action(button) => button.clone(),
            NotificationResponse::Reply(_) | NotificationResponse::Closed(_) => return,
        };
        if let Err(error) = say.try_send((key, button)) {
            tracing::warn!("an answer is lost: {error}");
        }
    });
    wait.run_until_cancelled(answered).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_of_names_is_none() {
        assert_eq!(escape("a <b>&c"), "a &lt;b&gt;&amp;c");
    }
}
