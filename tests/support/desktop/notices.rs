//! Owns a desktop's notification server: a double that takes down what it is told and
//! clicks, with or without buttons, and one that never answers.

use super::DEADLINE;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, interface};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// After so long a person clicks again.
const AGAIN: Duration = Duration::from_secs(3);

/// The server. It lives as long as its connection.
pub struct Notices {
    bus: Connection,
    heard: mpsc::Receiver<Heard>,
}

/// What the server was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// To show a message.
    Shown(Notice),
    /// To take the message with this number away.
    Closed(u32),
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub id: u32,
    /// The number of the message it replaces; 0 for none.
    pub replaces: u32,
    /// Title.
    pub title: String,
    /// Text, with markup.
    pub body: String,
    /// Names of its buttons.
    pub buttons: Vec<String>,
    /// 0 low, 1 normal, 2 critical.
    pub urgency: u8,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It shows buttons and reads markup.
    Full,
    /// It shows text.
    Plain,
    /// It takes calls and answers none.
    Hung,
}

struct Server {
    kind: Kind,
    last: u32,
    say: mpsc::Sender<Heard>,
}

#[interface(name = "org.freedesktop.Notifications")]
impl Server {
    async fn get_capabilities(&self) -> Vec<String> {
        let all: &[&str] = match self.kind {
            Kind::Full => &["actions", "body", "body-markup"],
            Kind::Plain => &["body"],
            Kind::Hung => std::future::pending().await,
        };
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        let text = |text: &str| text.to_owned();
        (text("double"), text("tests"), text("1"), text("1.2"))
    }

    #[allow(clippy::too_many_arguments)]
    async fn notify(
        &mut self,
        _app: String,
        replaces: u32,
        _icon: String,
        title: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedVariant>,
        _timeout: i32,
    ) -> u32 {
        if replaces == 0 {
            self.last += 1;
        }
        let id = if replaces == 0 { self.last } else { replaces };
        let urgency = hints.get("urgency").and_then(|value| u8::try_from(value.clone()).ok());
        let buttons = actions.chunks(2).map(|pair| pair[0].clone()).collect();
        let urgency = urgency.expect("an urgency");
        let notice = Notice { id, replaces, title, body, buttons, urgency };
        let _ = self.say.send(Heard::Shown(notice)).await;
        id
    }

    async fn close_notification(
        &self,
        id: u32,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) {
        let _ = Self::notification_closed(&emitter, id, 3).await;
        let _ = self.say.send(Heard::Closed(id)).await;
    }

    #[zbus(signal)]
    async fn notification_closed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        reason: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn action_invoked(emitter: &SignalEmitter<'_>, id: u32, button: &str)
    -> zbus::Result<()>;
}

impl Notices {
    /// A server on the bus at `address`.
    pub async fn start(address: &str, kind: Kind) -> Self {
        let (say, heard) = mpsc::channel(256);
        let bus = zbus::connection::Builder::address(address)
            .serve_at(PATH, Server { kind, last: 0, say })
            .name(NAME)
            .build()
            .await
            .unwrap();
        Self { bus, heard }
    }

    /// The next thing it is asked for.
    ///
    /// # Panics
    /// When nothing comes before the deadline.
    pub async fn next(&mut self) -> Heard {
        let heard = timeout(DEADLINE, self.heard.recv()).await;
        heard.expect("nothing was asked of the desktop").expect("the server lives")
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes before the deadline, or something else before it.
    pub async fn notice(&mut self) -> Notice {
        match self.next().await {
            Heard::Shown(notice) => notice,
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// What it was asked for and nobody has looked at yet.
    pub fn rest(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    /// Clicks a button, as the person does.
    ///
    /// # Panics
    /// When the bus is gone.
    pub async fn click(&self, id: u32, button: &str) {
        let emitter = SignalEmitter::new(&self.bus, PATH).unwrap();
        Server::action_invoked(&emitter, id, button).await.unwrap();
    }

    /// Clicks a button until something is shown: a click in the moment in which a message
    /// comes up may find nobody listening yet, as a person's may.
    ///
    /// # Panics
    /// When nothing comes before the deadline, or something else than a message.
    pub async fn click_until(&mut self, id: u32, button: &str) -> Notice {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.click(id, button).await;
            match timeout(AGAIN, self.heard.recv()).await {
                Ok(Some(Heard::Shown(notice))) => return notice,
                Ok(other) => panic!("{other:?} instead of a message"),
                Err(_) => assert!(Instant::now() < deadline, "`{button}` does nothing"),
            }
        }
    }

    /// Dies: its name and its connection go.
    ///
    /// # Panics
    /// When the bus is gone.
    pub async fn die(self) {
        self.bus.close().await.unwrap();
    }
}
