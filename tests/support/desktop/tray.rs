//! Owns a panel's side of the tray: a StatusNotifierWatcher with a host, and a reader
//! of `com.canonical.dbusmenu` that can click.

use super::DEADLINE;
use futures_util::StreamExt;
use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use zbus::message::Header;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, Variant, interface};

const WATCHER: &str = "org.kde.StatusNotifierWatcher";
const WATCHER_PATH: &str = "/StatusNotifierWatcher";
const ITEM: &str = "org.kde.StatusNotifierItem";
const MENU: &str = "com.canonical.dbusmenu";

/// The panel. It lives as long as its connection.
pub struct Panel {
    bus: Connection,
    items: mpsc::Receiver<(String, String)>,
}

struct Watcher {
    /// Whether a host shows the items.
    host: bool,
    items: mpsc::Sender<(String, String)>,
}

#[interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    async fn register_status_notifier_item(
        &self,
        service: String,
        #[zbus(header)] header: Header<'_>,
    ) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        // An item names either its object or its bus name.
        let item = if service.starts_with('/') {
            (sender, service)
        } else {
            (service, "/StatusNotifierItem".to_owned())
        };
        let _ = self.items.send(item).await;
    }

    fn register_status_notifier_host(&self, _service: String) {}

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        self.host
    }

    #[zbus(property)]
    fn registered_status_notifier_items(&self) -> Vec<String> {
        Vec::new()
    }

    #[zbus(property)]
    fn protocol_version(&self) -> i32 {
        0
    }
}

impl Panel {
    /// A panel on the bus at `address` that shows items.
    pub async fn start(address: &str) -> Self {
        Self::start_as(address, true).await
    }

    /// A watcher without anybody who shows the items.
    pub async fn start_without_host(address: &str) -> Self {
        Self::start_as(address, false).await
    }

    async fn start_as(address: &str, host: bool) -> Self {
        let (say, items) = mpsc::channel(8);
        let bus = zbus::connection::Builder::address(address)
            .serve_at(WATCHER_PATH, Watcher { host, items: say })
            .name(WATCHER)
            .build()
            .await
            .unwrap();
        Self { bus, items }
    }

    /// The next item that registers.
    ///
    /// # Panics
    /// When none does before the deadline.
    pub async fn item(&mut self) -> Item {
        let (service, path) = timeout(DEADLINE, self.items.recv())
            .await
            .expect("no tray item registered")
            .expect("the watcher lives");
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(service.clone())
            .build()
            .unwrap()
            .to_owned();
        let changes = MessageStream::for_match_rule(rule, &self.bus, None).await.unwrap();
        Item { bus: self.bus.clone(), service, path, changes }
    }
}

/// The app's tray item.
pub struct Item {
    bus: Connection,
    service: String,
    path: String,
    changes: MessageStream,
}

/// One entry of its menu.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What clicks name.
    pub id: i32,
    /// What a person reads.
    pub label: String,
    /// Whether it can be clicked.
    pub enabled: bool,
    /// Whether its mark is set, where it has one.
    pub checked: Option<bool>,
    /// Its submenu.
    pub entries: Vec<Entry>,
}

impl Entry {
    /// The entry below this one whose label begins with `start`.
    #[must_use]
    pub fn find(&self, start: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.label.starts_with(start))
    }
}

type Layout = (i32, HashMap<String, OwnedVariant>, Vec<OwnedVariant>);

impl Item {
    /// A property of the item, such as `IconName` or `Status`.
    ///
    /// # Panics
    /// When the item has none such.
    pub async fn property(&self, name: &str) -> String {
        String::try_from(self.get(name).await).unwrap()
    }

    async fn get(&self, name: &str) -> OwnedVariant {
        let properties = Some("org.freedesktop.DBus.Properties");
        let service = Some(self.service.as_str());
        let path = self.path.as_str();
        let reply = self.bus.call_method(service, path, properties, "Get", &(ITEM, name)).await;
        reply.unwrap().body().deserialize().unwrap()
    }

    /// The whole menu as it is now.
    ///
    /// # Panics
    /// When the app does not give it.
    pub async fn menu(&self) -> Entry {
        let path = zbus::OwnedObjectPath::try_from(self.get("Menu").await).unwrap();
        let everything = (0i32, -1i32, Vec::<String>::new());
        let service = Some(self.service.as_str());
        let call = self.bus.call_method(service, &path, Some(MENU), "GetLayout", &everything);
        let reply = timeout(DEADLINE, call).await.expect("no menu").unwrap();
        let (_, layout): (u32, Layout) = reply.body().deserialize().unwrap();
        entry(layout)
    }

    /// Waits until the menu is as `wanted`, and gives it.
    ///
    /// # Panics
    /// With the last menu, when it is not before the deadline.
    pub async fn menu_when(&mut self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Entry {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let menu = self.menu().await;
            if wanted(&menu) {
                return menu;
            }
            // The item announces each change of its menu.
            let change = timeout_at(deadline, self.changes.next()).await;
            assert!(change.is_ok(), "never: {what}; the last menu is {menu:#?}");
        }
    }

    /// Waits for the icon that `wanted` likes, and gives its file.
    ///
    /// # Panics
    /// When it does not come before the deadline.
    pub async fn icon_when(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let name = self.property("IconName").await;
            // The file is replaced by the next icon's; then a change is announced.
            if let Ok(file) = std::fs::read(&name)
                && wanted(&file)
            {
                return file;
            }
            let change = timeout_at(deadline, self.changes.next()).await;
            assert!(change.is_ok(), "the icon is still {name}");
        }
    }

    /// Clicks an entry, as a panel does.
    ///
    /// # Panics
    /// When the app does not take the click.
    pub async fn click(&self, entry: &Entry) {
        assert!(entry.enabled, "{entry:?} cannot be clicked");
        let path = zbus::OwnedObjectPath::try_from(self.get("Menu").await).unwrap();
        let event = (entry.id, "clicked", Variant::from(0i32), 0u32);
        let service = Some(self.service.as_str());
        self.bus.call_method(service, &path, Some(MENU), "Event", &event).await.unwrap();
    }
}

fn entry((id, properties, children): Layout) -> Entry {
    let text =
        |name: &str| properties.get(name).and_then(|value| String::try_from(value.clone()).ok());
    let number =
        |name: &str| properties.get(name).and_then(|value| i32::try_from(value.clone()).ok());
    let enabled = properties.get("enabled").and_then(|value| bool::try_from(value.clone()).ok());
    Entry {
        id,
        // One underscore marks a mnemonic, two are one.
        label: text("label").unwrap_or_default().replace("__", "_"),
        enabled: enabled.unwrap_or(true),
        checked: text("toggle-type").map(|_| number("toggle-state") == Some(1)),
        entries: children
            .into_iter()
            .map(|child| entry(Layout::try_from(child).unwrap()))
            .collect(),
    }
}
