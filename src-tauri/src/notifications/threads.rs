//! Windows and macOS: toasts and the notification centre. Both libraries wait for an
//! answer by blocking, so each message has a thread of its own that the process' end
//! does not wait for; neither takes a message back, so a withdrawn one stays until the
//! person or the system removes it.

use super::{Answer, DEFAULT, buttons};
use localport_core::notify::{Key, Message};
use localport_engine::registry::Tasks;
use notify_rust::{Notification, NotificationResponse};
use std::sync::Arc;
use std::thread;
use tokio::sync::{Semaphore, mpsc};

/// What the installers register the app as: the identifier of `tauri.conf.json`.
const APP: &str = "dev.localport.desktop";

/// Messages waited for at once. Who leaves more of them unanswered has the tray.
const WAITING: usize = 16;

/// What is shown.
pub(super) struct Screen {
    say: mpsc::Sender<Answer>,
    waiting: Arc<Semaphore>,
}

impl Screen {
    /// A screen with nothing on it; what a person does there is said to `say`.
    pub(super) fn new(_tasks: Tasks, say: mpsc::Sender<Answer>) -> Self {
        register();
        Self { say, waiting: Arc::new(Semaphore::new(WAITING)) }
    }

    /// Shows `message`.
    pub(super) async fn show(&mut self, message: Message) {
        let Ok(place) = self.waiting.clone().try_acquire_owned() else {
            tracing::info!("`{}` is not shown: too many are unanswered", message.title);
            return;
        };
        let (title, say) = (message.title.clone(), self.say.clone());
        let started = thread::Builder::new().name("notification".to_owned()).spawn(move || {
            show_and_wait(message, &say);
            drop(place);
        });
        if let Err(error) = started {
            tracing::warn!("`{title}` is not shown: {error}");
        }
    }

    /// Neither system takes a message back.
    pub(super) async fn withdraw(&mut self, _key: &Key) {}
}

fn show_and_wait(message: Message, say: &mpsc::Sender<Answer>) {
    let mut shown = Notification::new();
    shown.appname("LocalPort").summary(&message.title).body(&message.body);
    for (id, label) in buttons(&message) {
        shown.action(id, label);
    }
    identify(&mut shown);
    let answered = shown.show().and_then(|handle| {
        handle.wait_for_response(|response: &NotificationResponse| {
            let button = match response {
                NotificationResponse::Default => DEFAULT.to_owned(),
                NotificationResponse::Action(button) => button.clone(),
                NotificationResponse::Reply(_) | NotificationResponse::Closed(_) => return,
            };
            // The loop may have ended.
            let _ = say.try_send((message.key, button));
        })
    });
    if let Err(error) = answered {
        tracing::info!("`{}` is not shown: {error}", message.title);
    }
}

/// The AppUserModelID under which the installer's shortcut is known.
#[cfg(windows)]
fn identify(shown: &mut Notification) {
    shown.app_id(APP);
}

#[cfg(not(windows))]
fn identify(_shown: &mut Notification) {}

/// Messages come from the app's bundle, not from the program that started it.
#[cfg(target_os = "macos")]
fn register() {
    if let Err(error) = notify_rust::set_application(APP) {
        tracing::info!("messages come under another app's name: {error}");
    }
}

#[cfg(not(target_os = "macos"))]
fn register() {}
