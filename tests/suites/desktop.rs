//! The tray app as a person meets it: a real process on a real display and session
//! bus, its tray over D-Bus, its window through WebKit's own driver (rows D1, D2, D3).
#![cfg(target_os = "linux")]

use localport_tests::desktop::driver::Window;
use localport_tests::desktop::tray::{Entry, Panel};
use localport_tests::desktop::windows::Windows;
use localport_tests::desktop::{Screen, eventually, group_members};
use localport_tests::ports::free_port;
use localport_tests::servers::Server;
use localport_tests::sshd::Sshd;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A quit lets open connections finish for 8 s; none are open here.
const QUIT_BUDGET: Duration = Duration::from_secs(10);

/// The window's title.
const TITLE: &str = "LocalPort";

/// Forwards behind a real server: one that serves, one whose host nobody answers for,
/// one that is off.
struct World {
    screen: Screen,
    sshd: Sshd,
    _http: Server,
    config: String,
    wiki: u16,
}

impl World {
    async fn new() -> Self {
        let screen = Screen::new();
        let sshd = Sshd::start();
        sshd.trust_host_key();
        let http = Server::http("hello from the wiki").await;
        let (wiki, away, off) = (free_port(), free_port(), free_port());
        let ssh = |port: u16| {
            format!(
                "    connection: {{host: 127.0.0.1, port: {port}, user: {}, key_file: {}}}\n",
                sshd.user(),
                sshd.path("user_key").display()
            )
        };
        let service = |name: &str, local: u16, remote: u16, more: &str, port: u16| {
            format!(
                "  - name: {name}\n    technology: ssh\n    local_port: {local}\n    \
                 remote_port: {remote}\n{more}{}",
                ssh(port)
            )
        };
        let config = format!(
            "version: \"1.0\"\nservices:\n{}{}{}",
            service("wiki_main", wiki, http.port(), "", sshd.port()),
            service("away", away, 80, "", free_port()),
            service("old-box", off, 22, "    enabled: false\n", sshd.port()),
        );
        let config = screen.configure(&config).display().to_string();
        Self { screen, sshd, _http: http, config, wiki }
    }

    fn app(&self, arguments: &[&str]) -> Command {
        let mut command = self.screen.app(&["--config", &self.config]);
        command.args(arguments).env("LOCALPORT_SSH_CONFIG", self.sshd.path("ssh_config"));
        command
    }

    fn window(&self) -> Window {
        let ssh_config = self.sshd.path("ssh_config").display().to_string();
        let arguments = ["--window", "--config", &self.config];
        Window::open(&self.screen, &arguments, &[("LOCALPORT_SSH_CONFIG", &ssh_config)])
    }

    fn forward(&self, name: &str) -> Option<serde_json::Value> {
        self.screen.ask(&format!("/v1/status/{name}"))
    }
}

fn fetch(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: wiki\r\n\r\n").unwrap();
    // The server answers as long as more may come.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn titles(menu: &Entry) -> Vec<&str> {
    menu.entries.iter().map(|entry| entry.label.as_str()).collect()
}

fn icon_file(state: &str) -> Vec<u8> {
    let path = format!("../icons/tray/{state}-linux.png");
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// D1, D2: the tray shows each forward with its word, reason and address; what it shows
/// is served; a click switches a forward; quit ends the process and all its children.
#[tokio::test(flavor = "multi_thread")]
async fn d2_the_tray_shows_switches_and_quits() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let mut app = world.screen.start(&mut world.app(&[]));
    let mut item = panel.item().await;

    let menu = item
        .menu_when("the words of all three", |menu| {
            titles(menu).contains(&"wiki_main — serving")
                && titles(menu).contains(&"away — waiting")
        })
        .await;
    assert_eq!(
        titles(&menu),
        [
            "1 serving · 1 waiting · 1 off",
            "",
            "wiki_main — serving",
            "away — waiting",
            "old-box — off",
            "Groups",
            "",
            "Open window",
            "Quit LocalPort",
        ]
    );
    assert!(fetch(world.wiki).contains("hello from the wiki"));

    let wiki = menu.find("wiki_main").unwrap();
    let labels: Vec<_> = wiki.entries.iter().map(|entry| entry.label.clone()).collect();
    assert_eq!(labels[2..], ["On", &format!("Copy 127.0.0.1:{}", world.wiki), "Restart"]);
    assert_eq!((wiki.entries[0].enabled, wiki.entries[2].checked), (false, Some(true)));
    let away = menu.find("away").unwrap();
    assert!(away.entries[0].label.contains("127.0.0.1"), "a reason: {:?}", away.entries[0]);
    assert_eq!(away.entries.last().unwrap().label, "Retry now");
    let off = menu.find("old-box").unwrap();
    assert_eq!(off.find("On").unwrap().checked, Some(false));
    assert!(!off.find("Restart").unwrap().enabled);

    item.click(wiki.find("On").unwrap()).await;
    let menu =
        item.menu_when("wiki_main off", |menu| titles(menu).contains(&"wiki_main — off")).await;
    assert_eq!(menu.find("wiki_main").unwrap().find("On").unwrap().checked, Some(false));
    assert_eq!(world.forward("wiki_main").unwrap()["state"], "stopped");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, world.wiki)).is_err());

    item.click(menu.find("wiki_main").unwrap().find("On").unwrap()).await;
    let menu = item
        .menu_when("wiki_main on again", |menu| titles(menu).contains(&"wiki_main — serving"))
        .await;
    assert!(fetch(world.wiki).contains("hello from the wiki"));

    item.click(menu.find("Quit").unwrap()).await;
    let group = app.pid();
    let status = app.ended(QUIT_BUDGET);
    assert_eq!(status.code(), Some(0), "{}", app.said());
    assert_eq!(group_members(group), Vec::<String>::new());
    assert!(world.sshd.sessions().is_empty(), "an ssh is left");
    assert!(!world.screen.home().join("lp/run/control.sock").exists());
}

/// D2: forwards that share a place are switched as one.
#[tokio::test(flavor = "multi_thread")]
async fn d2_a_group_is_switched_as_one() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let _app = world.screen.start(&mut world.app(&[]));
    let mut item = panel.item().await;
    let group = |menu: &Entry| menu.find("Groups").map(|groups| groups.entries[0].clone());
    let says =
        |menu: &Entry, words: &str| group(menu).is_some_and(|group| group.label.ends_with(words));
    let menu = item.menu_when("one of two", |menu| says(menu, "— 1 of 2 on")).await;
    item.click(group(&menu).unwrap().find("All on").unwrap()).await;
    let menu = item.menu_when("both on", |menu| says(menu, "— on")).await;
    assert!(!group(&menu).unwrap().find("All on").unwrap().enabled);
    assert_ne!(world.forward("old-box").unwrap()["state"], "stopped");
    item.click(group(&menu).unwrap().find("All off").unwrap()).await;
    let menu = item.menu_when("both off", |menu| says(menu, "— off")).await;
    assert!(titles(&menu).contains(&"away — waiting"), "not of the group: {:?}", titles(&menu));
}

/// S10.2, S8.3: while it quits the menu says what is waited for and offers the way back;
/// taken, everything serves again and the open connection never noticed.
#[tokio::test(flavor = "multi_thread")]
async fn s10_2_the_tray_says_how_the_end_goes_and_keeps_running() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let _app = world.screen.start(&mut world.app(&[]));
    let mut item = panel.item().await;
    let menu =
        item.menu_when("serving", |menu| titles(menu).contains(&"wiki_main — serving")).await;
    assert!(menu.find("Keep running").is_none());
    let mut open = TcpStream::connect((Ipv4Addr::LOCALHOST, world.wiki)).unwrap();
    eventually("an open connection", || {
        (world.forward("wiki_main")?["connections"]["open"] == 1).then_some(())
    })
    .await;
    item.click(menu.find("Quit").unwrap()).await;
    let menu = item
        .menu_when("what is waited for", |menu| {
            titles(menu)[0].starts_with("Quitting: 1 connection finishes, ")
        })
        .await;
    assert!(titles(&menu)[0].ends_with(" s left"), "{:?}", titles(&menu));
    item.click(menu.find("Keep running").unwrap()).await;
    let menu =
        item.menu_when("serving again", |menu| titles(menu).contains(&"wiki_main — serving")).await;
    assert!(menu.find("Keep running").is_none());
    open.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(open, "GET / HTTP/1.1\r\nHost: wiki\r\n\r\n").unwrap();
    open.shutdown(Shutdown::Write).unwrap();
    let mut page = String::new();
    open.read_to_string(&mut page).unwrap();
    assert!(page.contains("hello from the wiki"), "{page}");
}

/// D2: the icon is another picture for another standing.
#[tokio::test(flavor = "multi_thread")]
async fn d2_the_icon_follows_the_worst_forward() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let _app = world.screen.start(&mut world.app(&[]));
    let mut item = panel.item().await;
    let degraded = shape(&icon_file("degraded"));
    item.icon_when(|file| shape(file) == degraded).await;

    let menu = item.menu_when("away waits", |menu| menu.find("away — waiting").is_some()).await;
    item.click(menu.find("away").unwrap().find("On").unwrap()).await;
    let ok = shape(&icon_file("ok"));
    item.icon_when(|file| shape(file) == ok).await;
}

/// Which pixels are mostly opaque; tells the five pictures apart, whoever wrote the file.
fn shape(png: &[u8]) -> Vec<bool> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    pixels.truncate(info.buffer_size());
    pixels.chunks(4).map(|pixel| pixel[3] > 127).collect()
}

/// D1: no window is made at the start where a tray shows the app; a second start opens
/// it, says who runs and ends with 0.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_second_start_opens_the_window_of_the_first() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let app = world.screen.start(&mut world.app(&[]));
    let _item = panel.item().await;
    eventually("the engine", || world.forward("away")).await;
    let windows = Windows::of(&world.screen);
    assert!(!windows.shows(TITLE), "a window was made at the start");
    assert!(!has_web_process(app.pid()), "a page was loaded at the start");

    let second = world.app(&[]).output().unwrap();
    assert_eq!(second.status.code(), Some(0));
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(said.contains(&format!("process `{}`", app.pid())), "{said}");
    eventually("the window", || windows.shows(TITLE).then_some(())).await;
}

fn has_web_process(group: u32) -> bool {
    group_members(group).iter().any(|name| name.contains("WebKitWeb"))
}

/// D1: closing the window destroys it and everything it cost; the tray app runs on.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_closed_window_is_gone_and_the_app_runs_on() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let app = world.screen.start(&mut world.app(&["--window"]));
    let mut item = panel.item().await;
    let windows = Windows::of(&world.screen);
    eventually("the window", || windows.shows(TITLE).then_some(())).await;
    assert!(windows.close(TITLE));
    eventually("no page", || (!has_web_process(app.pid())).then_some(())).await;
    assert!(!windows.shows(TITLE));
    let menu = item.menu_when("serving", |menu| menu.find("wiki_main — serving").is_some()).await;
    assert!(fetch(world.wiki).contains("hello from the wiki"));

    item.click(menu.find("Open window").unwrap()).await;
    eventually("the window again", || windows.shows(TITLE).then_some(())).await;
}

/// D1: TERM ends it as Quit does.
#[tokio::test(flavor = "multi_thread")]
async fn d1_a_signal_is_a_quit() {
    let world = World::new().await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let mut app = world.screen.start(&mut world.app(&["--window"]));
    let mut item = panel.item().await;
    item.menu_when("serving", |menu| menu.find("wiki_main — serving").is_some()).await;
    let windows = Windows::of(&world.screen);
    eventually("the window", || windows.shows(TITLE).then_some(())).await;
    app.signal(Signal::TERM);
    let group = app.pid();
    assert_eq!(app.ended(QUIT_BUDGET).code(), Some(0), "{}", app.said());
    eventually("all children gone", || group_members(group).is_empty().then_some(())).await;
    assert!(world.sshd.sessions().is_empty());
}

/// D1: without anybody to show a tray the window opens by itself, whether there is no
/// watcher or one without a host, and closing it quits.
#[tokio::test(flavor = "multi_thread")]
async fn d1_without_a_tray_the_window_is_all_there_is() {
    for watcher in [false, true] {
        let world = World::new().await;
        let _panel =
            if watcher { Some(Panel::start_without_host(world.screen.bus()).await) } else { None };
        let mut app = world.screen.start(&mut world.app(&[]));
        let windows = Windows::of(&world.screen);
        eventually("the window", || windows.shows(TITLE).then_some(())).await;
        assert!(windows.close(TITLE));
        assert_eq!(app.ended(QUIT_BUDGET).code(), Some(0), "{}", app.said());
    }
}

/// D1: without a display it says in a sentence what to do instead, and does not panic.
#[tokio::test(flavor = "multi_thread")]
async fn d1_without_a_display_it_says_what_to_do() {
    let world = World::new().await;
    for display in [None, Some(":4711")] {
        let mut command = world.app(&[]);
        command.env_remove("DISPLAY");
        if let Some(display) = display {
            command.env("DISPLAY", display);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("`localport run`"), "{said}");
        assert!(!said.contains("panicked") && said.lines().count() == 2, "{said}");
    }
}

/// D3: the real window shows the forwards, and its switch switches.
#[tokio::test(flavor = "multi_thread")]
async fn d3_the_window_shows_and_switches() {
    let world = World::new().await;
    let window = world.window();
    let address = format!("127.0.0.1:{}", world.wiki);
    let parts = ["1 serving · 1 waiting", "wiki_main", &address, "old-box", "Retry now"];
    window.text_when("the rows", |text| parts.iter().all(|part| text.contains(part)));
    let label = "[aria-label^='serving: listener listening, tunnel up over ssh-mux']";
    assert_eq!(window.run(&format!("return document.querySelectorAll(\"{label}\").length")), 1);

    window.click("[role=switch][aria-label='wiki_main, on']");
    window.text_when("off", |text| text.contains("1 waiting") && text.contains("2 off"));
    assert_eq!(world.forward("wiki_main").unwrap()["state"], "stopped");
    window.click("[role=switch][aria-label='wiki_main, off']");
    window.text_when("on again", |text| text.contains("1 serving"));
    assert!(fetch(world.wiki).contains("hello from the wiki"));

    window.type_keys("/old");
    let alone = |text: &str| text.contains("old-box") && !text.contains("wiki_main");
    window.text_when("one row", |text| text.contains("1 of 3") && alone(text));
}

/// G8, D3: a click walks the way of a forward that waits, up to the step that fails.
#[tokio::test(flavor = "multi_thread")]
async fn g8_the_window_walks_the_way_of_a_forward_that_waits() {
    let world = World::new().await;
    let window = world.window();
    window.text_when("the trouble", |text| text.contains("1 waiting") && text.contains("Explain"));
    let _ = window.run(
        "[...document.querySelectorAll('button')].find((it) => it.textContent.trim() === 'Explain').click()",
    );
    let text = window.text_when("the walk", |text| text.contains("Connection fails"));
    for part in ["SSH configuration", "Local port", "Not looked at: ", "See for yourself"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("Every step holds"), "{text}");
}

/// D3: the page can ask for nothing of the toolkit, and can load nothing from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn d3_the_page_has_the_smallest_rights() {
    let world = World::new().await;
    let window = world.window();
    window.text_when("the page", |text| text.contains("wiki_main"));
    for command in ["plugin:app|version", "plugin:window|close", "plugin:event|emit"] {
        let script = format!(
            "window.answer = null; window.__TAURI_INTERNALS__.invoke('{command}', {{}}) \
             .then(() => window.answer = 'allowed', error => window.answer = String(error));"
        );
        let _ = window.run(&script);
        let answer = || window.run("return window.answer").as_str().map(str::to_owned);
        let answer = eventually("an answer", answer).await;
        assert!(answer.contains("not allowed"), "{command}: {answer}");
    }
    let script = "const s = document.createElement('script'); s.textContent = 'window.ran = true'; \
        document.head.append(s); return window.ran ?? false";
    assert_eq!(window.run(script), false);
}

/// D3: with nothing configured the window says what to do first.
#[tokio::test(flavor = "multi_thread")]
async fn d3_without_a_configuration_it_says_what_to_write() {
    let screen = Screen::new();
    let window = Window::open(&screen, &["--window"], &[]);
    let text = window.text_when("the empty state", |text| text.contains("Write a file"));
    let place = screen.home().join(".config/localport/config.yaml");
    assert!(text.contains(&place.display().to_string()), "{text}");
    assert!(text.contains("technology: ssh"), "{text}");
}

/// D5: the X server dies: the engine ends in good order all the same, ssh included.
#[tokio::test(flavor = "multi_thread")]
async fn d5_a_display_that_dies_ends_the_engine_in_good_order() {
    let mut world = World::new().await;
    let mut app = world.screen.start(&mut world.app(&["--hidden"]));
    eventually("the wiki serves", || world.forward("wiki_main").filter(|f| f["word"] == "serving"))
        .await;
    world.screen.lose_display();
    let status = app.ended(QUIT_BUDGET);
    assert_eq!(status.code(), Some(0), "it said:\n{}", app.said());
    assert!(app.said().contains("everything is released"), "it said:\n{}", app.said());
    assert!(!world.screen.home().join("lp/run/control.sock").exists());
    assert_eq!(group_members(app.pid()), Vec::<String>::new());
}
