//! What a person is told by the real tray app: over a real notification server, and over
//! a double that has buttons, none, hangs or dies (rows D4, S5.5).
#![cfg(target_os = "linux")]

use localport_tests::desktop::notices::{Heard, Kind, Notices};
use localport_tests::desktop::tray::{Entry, Item, Panel};
use localport_tests::desktop::windows::Windows;
use localport_tests::desktop::{App, Guard, Screen, eventually, group_members};
use localport_tests::ports::free_port;
use localport_tests::servers::Server;
use localport_tests::sshd::Sshd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A quit waits for no connection here.
const QUIT_BUDGET: Duration = Duration::from_secs(10);

/// The window's title.
const TITLE: &str = "LocalPort";

/// Forwards through one SSH host. What is lost is tried again only when somebody asks.
struct World {
    screen: Screen,
    sshd: Sshd,
    count: usize,
    config: String,
    _http: Server,
}

impl World {
    async fn new(count: usize) -> Self {
        let screen = Screen::new();
        let sshd = Sshd::start();
        let http = Server::http("hello").await;
        let mut config = "version: \"1.0\"\nnotifications: {debounce: 1}\n\
             defaults: {restart_policy: {initial_delay: 3600, max_delay: 3600}}\nservices:\n"
            .to_owned();
        for n in 0..count {
            config += &format!(
                "  - name: f{n}\n    technology: ssh\n    local_port: {}\n    remote_port: {}\n    \
                 connection: {{host: 127.0.0.1, port: {}, user: {}, key_file: {}}}\n",
                free_port(),
                http.port(),
                sshd.port(),
                sshd.user(),
                sshd.path("user_key").display(),
            );
        }
        let config = screen.configure(&config).display().to_string();
        Self { screen, sshd, count, config, _http: http }
    }

    /// The app, once everything serves.
    async fn start(&self) -> App {
        let mut command = self.screen.app(&["--hidden", "--config", &self.config]);
        command.env("LOCALPORT_SSH_CONFIG", self.sshd.path("ssh_config"));
        let app = self.screen.start(&mut command);
        self.serves().await;
        app
    }

    async fn serves(&self) {
        let all = format!("{} serving", self.count);
        eventually("everything serves", || {
            (self.screen.ask("/v1/status")?["summary"] == *all).then_some(())
        })
        .await;
    }

    async fn quit(&self, app: &mut App) {
        app.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        assert_eq!(app.ended(QUIT_BUDGET).code(), Some(0), "{}", app.said());
        assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
        assert!(!app.said().contains("panicked"), "{}", app.said());
        // A page's processes end a moment after the app.
        eventually("all children gone", || group_members(app.pid()).is_empty().then_some(())).await;
    }
}

/// The submenu of the newest recent trouble.
fn newest(menu: &Entry) -> Option<&Entry> {
    menu.find("Recent problems")?.entries.first()
}

async fn trouble(item: &mut Item, words: &str) -> Entry {
    let has = |menu: &Entry| newest(menu).is_some_and(|trouble| trouble.label.contains(words));
    let menu = item.menu_when(words, has).await;
    newest(&menu).unwrap().clone()
}

/// S5.5, D4: forty forwards and one outage are one message with its actions; Retry
/// reaches the engine; the end of the outage replaces the message and says how long it
/// was; a quit takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn s5_5_forty_forwards_one_outage_one_message() {
    let mut world = World::new(40).await;
    let mut desktop = Notices::start(world.screen.bus(), Kind::Full).await;
    let mut app = world.start().await;

    world.sshd.stop();
    let outage = desktop.notice().await;
    assert!(outage.title.ends_with("unreachable: 40 forwards wait"), "{outage:?}");
    assert_eq!(outage.buttons, ["default", "retry", "open"]);
    assert_eq!((outage.replaces, outage.urgency), (0, 1));
    assert!(!outage.body.is_empty() && !outage.body.contains('`'), "{outage:?}");

    world.sshd.run();
    assert_eq!(desktop.rest(), [], "nothing is tried before somebody asks");
    desktop.click(outage.id + 7, "retry").await;
    let back = desktop.click_until(outage.id, "retry").await;
    assert!(back.title.contains(" is back after ") && back.title.ends_with(" s"), "{back:?}");
    assert_eq!((back.id, back.replaces, back.urgency), (outage.id, outage.id, 0));
    assert_eq!(back.body, "40 forwards serve");

    world.quit(&mut app).await;
    assert_eq!(desktop.next().await, Heard::Closed(outage.id));
    assert_eq!(desktop.rest(), [], "one outage, one message, one end");
}

/// D4: over a real server: one message is displayed, a click on it opens the window, and
/// a server that is killed and started again shows what comes then.
#[tokio::test(flavor = "multi_thread")]
async fn d4_a_real_server_shows_and_is_clicked() {
    let mut world = World::new(3).await;
    let real = dunst(&world.screen).await;
    let mut app = world.start().await;
    world.sshd.stop();
    eventually("one message", || (displayed(&world.screen)? == 1).then_some(())).await;
    let windows = Windows::of(&world.screen);
    assert!(!windows.shows(TITLE));
    assert!(control(&world.screen, &["action"]).is_some());
    eventually("the window", || windows.shows(TITLE).then_some(())).await;

    drop(real);
    world.sshd.run();
    retry(&world).await;
    eventually("the end is told", || app.said().contains(" is back after ").then_some(())).await;
    let _real = dunst(&world.screen).await;
    world.sshd.stop();
    eventually("another message", || (displayed(&world.screen)? == 1).then_some(())).await;
    world.quit(&mut app).await;
    eventually("no message", || (displayed(&world.screen)? == 0).then_some(())).await;
}

/// D4: where the desktop shows no buttons none are sent, and the tray has what they do.
#[tokio::test(flavor = "multi_thread")]
async fn d4_without_buttons_the_tray_has_them() {
    let mut world = World::new(3).await;
    let mut desktop = Notices::start(world.screen.bus(), Kind::Plain).await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let mut app = world.start().await;
    let mut item = panel.item().await;
    world.sshd.stop();
    let outage = desktop.notice().await;
    assert_eq!(outage.buttons, Vec::<String>::new());
    world.sshd.run();
    let shown = trouble(&mut item, "unreachable: 3 forwards wait").await;
    assert_eq!(shown.entries.last().unwrap().label, "Open window");
    item.click(shown.find("Retry now").unwrap()).await;
    world.serves().await;
    let back = trouble(&mut item, "is back after").await;
    assert!(!back.find("Retry now").unwrap().enabled, "it is over");
    assert!(desktop.notice().await.title.contains("is back after"));
    world.quit(&mut app).await;
}

/// D4: no server, one that hangs and one that dies break nothing: the tray says it, a
/// server that comes later is used, and the app ends as fast as ever.
#[tokio::test(flavor = "multi_thread")]
async fn d4_no_server_a_hung_one_and_one_that_dies() {
    let mut world = World::new(3).await;
    let mut panel = Panel::start(world.screen.bus()).await;
    let mut app = world.start().await;
    let mut item = panel.item().await;

    world.sshd.stop();
    trouble(&mut item, "unreachable: 3 forwards wait").await;
    world.sshd.run();
    let mut first = Notices::start(world.screen.bus(), Kind::Full).await;
    retry(&world).await;
    let back = first.notice().await;
    assert!(back.title.contains("is back after"), "{back:?}");
    first.die().await;

    // The next one knows nothing of the number that the dead one gave.
    let mut second = Notices::start(world.screen.bus(), Kind::Full).await;
    world.serves().await;
    world.sshd.stop();
    let outage = second.notice().await;
    assert_eq!((outage.replaces, outage.buttons.len()), (0, 3), "{outage:?}");
    second.die().await;

    let _hung = Notices::start(world.screen.bus(), Kind::Hung).await;
    world.sshd.run();
    retry(&world).await;
    trouble(&mut item, "is back after").await;
    world.quit(&mut app).await;
}

/// Asks for the retry as a person does in a terminal.
async fn retry(world: &World) {
    use std::io::{Read, Write};
    let socket = world.screen.home().join("lp/run/control.sock");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let body = "\"all\"";
    write!(
        stream,
        "POST /v1/retry HTTP/1.1\r\nHost: localport\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// The real server, once it owns its name.
async fn dunst(screen: &Screen) -> Guard {
    let mut command = screen.command(Path::new("dunst"));
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    let guard = Guard::new(command.spawn().expect("dunst is installed"));
    eventually("dunst", || displayed(screen)).await;
    guard
}

/// Messages on the real server's screen; none while it does not answer.
fn displayed(screen: &Screen) -> Option<usize> {
    control(screen, &["count", "displayed"])?.trim().parse().ok()
}

fn control(screen: &Screen, words: &[&str]) -> Option<String> {
    let mut command: Command = screen.command(Path::new("dunstctl"));
    let output = command.args(words).output().expect("dunstctl is installed");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}
