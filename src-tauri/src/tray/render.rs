//! Owns the drawn menu: receives [`Menu`] values, changes only the texts and marks that
//! differ, and rebuilds the items only when the set of forwards changes.
//!
//! An open menu stays open: the root is never replaced. Everything here runs on the
//! main thread, so that one update is one hop.

use super::{Group, Menu, More, Remedy, Row, Trouble, icons};
use crate::surface::Action;
use localport_core::command::Selector;
use localport_core::notify;
use tauri::menu::{CheckMenuItem, IsMenuItem, MenuItem, PredefinedMenuItem, Submenu};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Wry};

/// The tray's name towards the desktop.
const TRAY_ID: &str = "localport";

/// Where the rows begin: after the summary and a line, and the way back while it quits.
fn first_row(menu: &Menu) -> usize {
    2 + usize::from(menu.keep)
}

/// Whether a submenu can be given another title. On Linux the toolkit draws the title
/// into a box of its own and `set_text` does not find it there, so a submenu whose
/// title changes is replaced in its place.
const TITLES_CHANGE: bool = cfg!(not(target_os = "linux"));

/// The drawn tray and what it shows.
pub(crate) struct Tray {
    app: AppHandle,
    icon: TrayIcon,
    root: tauri::menu::Menu<Wry>,
    summary: MenuItem<Wry>,
    rows: Vec<Drawn>,
    more: Option<DrawnMore>,
    groups: Option<Submenu<Wry>>,
    recent: Option<Submenu<Wry>>,
    shown: Menu,
}

/// The items of one forward.
struct Drawn {
    submenu: Submenu<Wry>,
    reason: MenuItem<Wry>,
    switch: CheckMenuItem<Wry>,
    copy: MenuItem<Wry>,
    remedy: MenuItem<Wry>,
}

struct DrawnMore {
    submenu: Submenu<Wry>,
    rows: Vec<Drawn>,
}

impl Tray {
    /// Puts the tray up, showing `menu`.
    ///
    /// # Errors
    /// When the platform refuses.
    pub(crate) fn new(app: &AppHandle, menu: Menu) -> tauri::Result<Self> {
        let root = tauri::menu::Menu::new(app)?;
        let summary = MenuItem::with_id(app, "summary", escape(&menu.summary), false, none())?;
        let icon = TrayIconBuilder::with_id(TRAY_ID)
            .icon(icons::icon(menu.icon, dark())?)
            .icon_as_template(icons::TEMPLATE)
            .tooltip(format!("LocalPort: {}", menu.summary))
            .menu(&root)
            .build(app)?;
        let mut tray = Self {
            app: app.clone(),
            icon,
            root,
            summary,
            rows: Vec::new(),
            more: None,
            groups: None,
            recent: None,
            shown: menu.clone(),
        };
        tray.rebuild(&menu)?;
        Ok(tray)
    }

    /// Shows `menu` in place of what is shown.
    ///
    /// # Errors
    /// When the platform refuses.
    pub(crate) fn show(&mut self, menu: Menu) -> tauri::Result<()> {
        if menu.icon != self.shown.icon {
            let picture = Some(icons::icon(menu.icon, dark())?);
            self.icon.set_icon_with_as_template(picture, icons::TEMPLATE)?;
        }
        if menu.summary != self.shown.summary {
            self.summary.set_text(escape(&menu.summary))?;
            self.icon.set_tooltip(Some(format!("LocalPort: {}", menu.summary)))?;
        }
        if same_items(&menu, &self.shown) {
            self.update(&menu)?;
        } else {
            self.rebuild(&menu)?;
        }
        self.shown = menu;
        Ok(())
    }

    /// The platform flips a check mark by itself when it is clicked; this puts the mark
    /// back to what the engine last said.
    pub(crate) fn unflip(&self, name: &str) -> tauri::Result<()> {
        let more = self.shown.more.iter().flat_map(|more| &more.rows);
        let drawn = self.rows.iter().chain(self.more.iter().flat_map(|more| &more.rows));
        for (row, drawn) in self.shown.rows.iter().chain(more).zip(drawn) {
            if row.name == name {
                drawn.switch.set_checked(row.on)?;
            }
        }
        Ok(())
    }

    fn update(&mut self, menu: &Menu) -> tauri::Result<()> {
        let app = &self.app;
        let first = first_row(menu);
        for (index, (row, shown)) in menu.rows.iter().zip(&self.shown.rows).enumerate() {
            if renamed(&row.title, &shown.title) {
                let new = Drawn::new(app, row)?;
                self.root.remove(&self.rows[index].submenu)?;
                self.root.insert(&new.submenu, first + index)?;
                self.rows[index] = new;
            } else {
                self.rows[index].update(row, shown)?;
            }
        }
        if menu.groups != self.shown.groups
            && let Some(drawn) = &mut self.groups
        {
            let new = groups(app, &menu.groups)?;
            self.root.remove(drawn)?;
            let at = first + menu.rows.len() + usize::from(menu.more.is_some());
            self.root.insert(&new, at)?;
            *drawn = new;
        }
        if menu.recent != self.shown.recent
            && let Some(drawn) = &mut self.recent
        {
            let new = recent(app, &menu.recent)?;
            self.root.remove(drawn)?;
            let above = usize::from(menu.more.is_some()) + usize::from(self.groups.is_some());
            self.root.insert(&new, first + menu.rows.len() + above)?;
            *drawn = new;
        }
        let (Some(drawn), Some(more), Some(shown)) = (&mut self.more, &menu.more, &self.shown.more)
        else {
            return Ok(());
        };
        if renamed(&more.title, &shown.title) {
            let new = DrawnMore::new(app, more)?;
            self.root.remove(&drawn.submenu)?;
            self.root.insert(&new.submenu, first + menu.rows.len())?;
            *drawn = new;
            return Ok(());
        }
        drawn.update(app, more, shown)
    }

    fn rebuild(&mut self, menu: &Menu) -> tauri::Result<()> {
        let app = &self.app;
        for item in self.root.items()?.iter().rev() {
            self.root.remove(as_item(item))?;
        }
        self.rows = menu.rows.iter().map(|row| Drawn::new(app, row)).collect::<Result<_, _>>()?;
        self.more = menu.more.as_ref().map(|more| DrawnMore::new(app, more)).transpose()?;

        self.groups = (!menu.groups.is_empty()).then(|| groups(app, &menu.groups)).transpose()?;
        self.recent = (!menu.recent.is_empty()).then(|| recent(app, &menu.recent)).transpose()?;

        let line = || PredefinedMenuItem::separator(app);
        let keep = MenuItem::with_id(app, "keep", "Keep running", true, none())?;
        let (above, below) = (line()?, line()?);
        let open = MenuItem::with_id(app, "open", "Open window", true, none())?;
        let quit = MenuItem::with_id(app, "quit", "Quit LocalPort", true, none())?;
        let mut items: Vec<&dyn IsMenuItem<Wry>> = vec![&self.summary];
        if menu.keep {
            items.push(&keep);
        }
        if !self.rows.is_empty() {
            items.push(&above);
        }
        items.extend(self.rows.iter().map(|row| &row.submenu as &dyn IsMenuItem<Wry>));
        items.extend(self.more.iter().map(|more| &more.submenu as &dyn IsMenuItem<Wry>));
        items.extend(self.groups.iter().map(|groups| groups as &dyn IsMenuItem<Wry>));
        items.extend(self.recent.iter().map(|recent| recent as &dyn IsMenuItem<Wry>));
        items.extend([&below as &dyn IsMenuItem<Wry>, &open, &quit]);
        self.root.append_items(&items)
    }
}

/// The submenu of groups, each with its two switches and its retry.
fn groups(app: &AppHandle, groups: &[Group]) -> tauri::Result<Submenu<Wry>> {
    let all = Submenu::with_id(app, "groups", "Groups", true)?;
    for (index, group) in groups.iter().enumerate() {
        let item = |what: &str, text: &str, enabled| {
            MenuItem::with_id(app, format!("{what}/{index}"), text, enabled, none())
        };
        let on = item("all-on", "All on", group.can_on)?;
        let off = item("all-off", "All off", group.can_off)?;
        let retry = item("all-retry", "Retry now", group.can_retry)?;
        let id = format!("group/{index}");
        let submenu =
            Submenu::with_id_and_items(app, id, escape(&group.title), true, &[&on, &off, &retry])?;
        all.append(&submenu)?;
    }
    Ok(all)
}

/// The submenu of the last troubles, each with what its notification offers.
fn recent(app: &AppHandle, recent: &[Trouble]) -> tauri::Result<Submenu<Wry>> {
    let all = Submenu::with_id(app, "recent", "Recent problems", true)?;
    for (index, trouble) in recent.iter().enumerate() {
        let item = |what: &str, text: &str, enabled| {
            MenuItem::with_id(app, format!("{what}/{index}"), text, enabled, none())
        };
        let reason = item("trouble-reason", &escape(&trouble.reason), false)?;
        let id = format!("trouble/{index}");
        let submenu =
            Submenu::with_id_and_items(app, id, escape(&trouble.title), true, &[&reason])?;
        for action in &trouble.actions {
            let (text, enabled) = match action {
                notify::Action::Open => ("Open window", true),
                other => (other.label(), trouble.enabled),
            };
            submenu.append(&item(&format!("trouble-{}", action.id()), text, enabled)?)?;
        }
        all.append(&submenu)?;
    }
    Ok(all)
}

impl Drawn {
    fn new(app: &AppHandle, row: &Row) -> tauri::Result<Self> {
        let id = |what: &str| format!("{what}/{}", row.name);
        let item = |what: &str, text: String, enabled| {
            MenuItem::with_id(app, id(what), text, enabled, none())
        };
        let reason = item("reason", escape(&row.reason), false)?;
        let switch = CheckMenuItem::with_id(app, id("switch"), "On", row.enabled, row.on, none())?;
        let copy = item("copy", copy_text(row), true)?;
        let remedy = item("remedy", remedy_text(row).to_owned(), remedy_enabled(row))?;
        let submenu = Submenu::with_id_and_items(
            app,
            id("forward"),
            escape(&row.title),
            true,
            &[&reason, &PredefinedMenuItem::separator(app)?, &switch, &copy, &remedy],
        )?;
        Ok(Self { submenu, reason, switch, copy, remedy })
    }

    fn update(&self, row: &Row, shown: &Row) -> tauri::Result<()> {
        if row.title != shown.title {
            self.submenu.set_text(escape(&row.title))?;
        }
        if row.reason != shown.reason {
            self.reason.set_text(escape(&row.reason))?;
        }
        if row.on != shown.on {
            self.switch.set_checked(row.on)?;
        }
        if row.enabled != shown.enabled {
            self.switch.set_enabled(row.enabled)?;
        }
        if row.address != shown.address {
            self.copy.set_text(copy_text(row))?;
        }
        if row.remedy != shown.remedy {
            self.remedy.set_text(remedy_text(row))?;
        }
        if remedy_enabled(row) != remedy_enabled(shown) {
            self.remedy.set_enabled(remedy_enabled(row))?;
        }
        Ok(())
    }
}

impl DrawnMore {
    fn update(&mut self, app: &AppHandle, more: &More, shown: &More) -> tauri::Result<()> {
        if more.title != shown.title {
            self.submenu.set_text(escape(&more.title))?;
        }
        for (index, (row, shown)) in more.rows.iter().zip(&shown.rows).enumerate() {
            if renamed(&row.title, &shown.title) {
                let new = Drawn::new(app, row)?;
                self.submenu.remove(&self.rows[index].submenu)?;
                self.submenu.insert(&new.submenu, index)?;
                self.rows[index] = new;
            } else {
                self.rows[index].update(row, shown)?;
            }
        }
        Ok(())
    }

    fn new(app: &AppHandle, more: &More) -> tauri::Result<Self> {
        let rows =
            more.rows.iter().map(|row| Drawn::new(app, row)).collect::<Result<Vec<_>, _>>()?;
        let submenu = Submenu::with_id(app, "more", escape(&more.title), true)?;
        for row in &rows {
            submenu.append(&row.submenu)?;
        }
        if let Some(beyond) = &more.beyond {
            submenu.append(&MenuItem::with_id(app, "beyond", escape(beyond), false, none())?)?;
        }
        Ok(Self { submenu, rows })
    }
}

/// What a click on the item `id` asks for; `menu` says how things stand now.
pub(crate) fn action(id: &str, menu: &Menu) -> Option<Action> {
    match id {
        "open" => return Some(Action::OpenWindow),
        "quit" => return Some(Action::Quit),
        "keep" => return Some(Action::KeepRunning),
        _ => {}
    }
    let (what, name) = id.split_once('/')?;
    if let Some(id) = what.strip_prefix("trouble-") {
        let trouble = menu.recent.get(name.parse::<usize>().ok()?)?;
        return trouble.actions.iter().find(|action| action.id() == id).map(
            |action| match action {
                notify::Action::Open => Action::OpenWindow,
                notify::Action::Retry(selector) => Action::Retry { selector: selector.clone() },
                notify::Action::LogIn(context) => Action::LogIn { context: context.clone() },
            },
        );
    }
    if what == "all-retry" {
        let group = menu.groups.get(name.parse::<usize>().ok()?)?;
        return Some(Action::Retry { selector: group.selector.clone() });
    }
    if let Some(on) = match what {
        "all-on" => Some(true),
        "all-off" => Some(false),
        _ => None,
    } {
        let group = menu.groups.get(name.parse::<usize>().ok()?)?;
        return Some(Action::SwitchGroup { selector: group.selector.clone(), on });
    }
    let more = menu.more.iter().flat_map(|more| &more.rows);
    let row = menu.rows.iter().chain(more).find(|row| row.name == name)?;
    let name = name.to_owned();
    match what {
        "switch" => Some(Action::Switch { name, on: !row.on }),
        "copy" => Some(Action::Copy { name }),
        "remedy" => Some(Action::Remedy { name }),
        _ => None,
    }
}

impl Tray {
    /// What is shown now.
    pub(crate) fn shown(&self) -> &Menu {
        &self.shown
    }
}

/// Whether a submenu has to be replaced for its title.
fn renamed(title: &str, shown: &str) -> bool {
    !TITLES_CHANGE && title != shown
}

/// Whether `menu` can be shown by changing the items of `shown` in place.
fn same_items(menu: &Menu, shown: &Menu) -> bool {
    fn names(rows: &[Row]) -> impl Iterator<Item = &str> {
        rows.iter().map(|row| row.name.as_str())
    }
    let selectors = |menu: &Menu| -> Vec<Selector> {
        menu.groups.iter().map(|group| group.selector.clone()).collect()
    };
    names(&menu.rows).eq(names(&shown.rows))
        && menu.keep == shown.keep
        && selectors(menu) == selectors(shown)
        && menu.recent.is_empty() == shown.recent.is_empty()
        && match (&menu.more, &shown.more) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                one.beyond == other.beyond && names(&one.rows).eq(names(&other.rows))
            }
            _ => false,
        }
}

fn as_item(item: &tauri::menu::MenuItemKind<Wry>) -> &dyn IsMenuItem<Wry> {
    use tauri::menu::MenuItemKind as Kind;
    match item {
        Kind::MenuItem(item) => item,
        Kind::Submenu(item) => item,
        Kind::Predefined(item) => item,
        Kind::Check(item) => item,
        Kind::Icon(item) => item,
    }
}

fn copy_text(row: &Row) -> String {
    escape(&format!("Copy {}", row.address))
}

fn remedy_text(row: &Row) -> &'static str {
    match row.remedy {
        Remedy::LogIn => "Log in…",
        Remedy::Retry => "Retry now",
        Remedy::Restart | Remedy::None => "Restart",
    }
}

fn remedy_enabled(row: &Row) -> bool {
    row.enabled && row.remedy != Remedy::None
}

/// A menu takes `&` for the mark of a mnemonic.
fn escape(text: &str) -> String {
    text.replace('&', "&&")
}

/// No accelerator.
fn none() -> Option<&'static str> {
    None
}

/// Whether the tray stands on a dark bar.
#[cfg(windows)]
fn dark() -> bool {
    crate::desktop::dark_bar()
}

/// The pictures of the other platforms stand on both.
#[cfg(not(windows))]
fn dark() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use localport_core::snapshot::Overall;

    fn row(name: &str, on: bool) -> Row {
        Row {
            name: name.to_owned(),
            title: String::new(),
            reason: String::new(),
            on,
            address: String::new(),
            remedy: Remedy::Retry,
            enabled: true,
        }
    }

    #[test]
    fn a_click_means_what_is_shown() {
        let menu = Menu {
            icon: Overall::Ok,
            summary: String::new(),
            rows: vec![row("a/b", true)],
            more: Some(More { title: String::new(), rows: vec![row("far", false)], beyond: None }),
            groups: vec![Group {
                selector: Selector::Tag("db".to_owned()),
                title: String::new(),
                can_on: true,
                can_off: true,
                can_retry: true,
            }],
            recent: vec![Trouble {
                title: String::new(),
                reason: String::new(),
                actions: vec![
                    notify::Action::LogIn("staging".to_owned()),
                    notify::Action::Retry(Selector::Context("staging".to_owned())),
                    notify::Action::Open,
                ],
                enabled: true,
            }],
            keep: true,
        };
        let name = |name: &str| name.to_owned();
        let table = [
            ("open", Some(Action::OpenWindow)),
            ("quit", Some(Action::Quit)),
            ("keep", Some(Action::KeepRunning)),
            (
                "all-off/0",
                Some(Action::SwitchGroup { selector: Selector::Tag(name("db")), on: false }),
            ),
            ("all-on/1", None),
            ("all-retry/0", Some(Action::Retry { selector: Selector::Tag(name("db")) })),
            (
                "trouble-retry/0",
                Some(Action::Retry { selector: Selector::Context(name("staging")) }),
            ),
            ("trouble-login/0", Some(Action::LogIn { context: name("staging") })),
            ("trouble-retry/1", None),
            ("trouble-reason/0", None),
            ("trouble-open/0", Some(Action::OpenWindow)),
            ("switch/a/b", Some(Action::Switch { name: name("a/b"), on: false })),
            ("switch/far", Some(Action::Switch { name: name("far"), on: true })),
            ("copy/far", Some(Action::Copy { name: name("far") })),
            ("remedy/far", Some(Action::Remedy { name: name("far") })),
            ("switch/gone", None),
            ("reason/far", None),
            ("summary", None),
        ];
        for (id, expected) in table {
            assert_eq!(action(id, &menu), expected, "{id}");
        }
    }
}
