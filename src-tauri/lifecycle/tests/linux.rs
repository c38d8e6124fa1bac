//! The sources of Linux against doubles on a real bus, and against the real kernel
//! (D5, G2, S1.4).
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::expect_used, clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "double/bus.rs"]
mod bus;

use bus::{Answer, Bus, DEADLINE, Double};
use localport_core::lifecycle::{LifecycleEvent, SessionEnd};
use localport_core::resource::LeaseKind;
use localport_lifecycle::{Holdings, Host, Notice, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LOGIND: &str = "org.freedesktop.login1";
const LOGIND_PATH: &str = "/org/freedesktop/login1";
const LOGIND_MANAGER: &str = "org.freedesktop.login1.Manager";
const GNOME: &str = "org.gnome.SessionManager";
const CLIENT_PATH: &str = "/org/gnome/SessionManager/Client7";
const CLIENT: &str = "org.gnome.SessionManager.ClientPrivate";

/// Where the watch of this process finds its buses. Each test has a process of its own.
fn buses(system: &str, session: &str) {
    // SAFETY: called first in each test, when no other thread reads the environment.
    unsafe {
        std::env::set_var("DBUS_SYSTEM_BUS_ADDRESS", system);
        std::env::set_var("DBUS_SESSION_BUS_ADDRESS", session);
        std::env::set_var("DESKTOP_AUTOSTART_ID", "autostart-5");
    }
}

const NOWHERE: &str = "unix:path=/nonexistent/bus";

/// The next notice that is not about the network of this machine.
async fn next(watch: &mut Watch) -> Notice {
    let next = async {
        loop {
            let notice = watch.next().await;
            if notice.event != LifecycleEvent::NetworkChanged {
                return notice;
            }
        }
    };
    timeout(DEADLINE, next).await.expect("a notice")
}

/// The locks that a double of logind gave away, as their other ends.
#[derive(Clone, Default)]
struct Locks(Arc<Mutex<Vec<OwnedFd>>>);

impl Locks {
    fn give(&self) -> OwnedFd {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        self.0.lock().unwrap().push(ours);
        theirs
    }

    /// Whether lock number `index` is still held by anybody, after `patience` at most.
    fn is_held(&self, index: usize, patience: Duration) -> bool {
        let locks = self.0.lock().unwrap();
        let mut ends = [PollFd::new(&locks[index], PollFlags::IN)];
        let time = Timespec { tv_sec: i64::try_from(patience.as_secs()).unwrap(), tv_nsec: 0 };
        poll(&mut ends, Some(&time)).unwrap();
        !ends[0].revents().contains(PollFlags::HUP)
    }
}

async fn logind(bus: &Bus, locks: &Locks, limit: Duration) -> Double {
    let locks = locks.clone();
    let limit = u64::try_from(limit.as_micros()).unwrap();
    Double::start(bus, LOGIND, move |member| match member {
        "Inhibit" => Answer::Descriptor(locks.give()),
        "Get" => Answer::Number(limit),
        _ => Answer::Refusal,
    })
    .await
}

impl Double {
    async fn prepare(&self, member: &str, begins: bool) {
        self.emit(LOGIND_PATH, LOGIND_MANAGER, member, &begins).await;
    }
}

/// D5: one delay lock; it is there until the host is done, and taken again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_logind_waits_until_the_host_is_done() {
    let bus = Bus::start().await;
    buses(&bus.address, NOWHERE);
    let locks = Locks::default();
    let mut double = logind(&bus, &locks, Duration::from_secs(5)).await;
    let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
    let call = double.called("Inhibit").await;
    let (what, who, _, mode): (String, String, String, String) =
        call.message.body().deserialize().unwrap();
    assert_eq!((&*what, &*who, &*mode), ("sleep:shutdown", "LocalPort", "delay"));

    for round in 0..3 {
        double.prepare("PrepareForSleep", true).await;
        let notice = next(&mut watch).await;
        let within = Duration::from_secs(4);
        assert_eq!(notice.event, LifecycleEvent::WillSleep { within }, "a second is left over");
        assert!(notice.done.is_awaited());
        assert!(locks.is_held(round, Duration::ZERO), "held until the host is done");
        drop(notice);
        assert!(!locks.is_held(round, DEADLINE), "gone when the host is done");
        double.prepare("PrepareForSleep", false).await;
        assert_eq!(next(&mut watch).await.event, LifecycleEvent::DidWake { slept: None });
        double.called("Inhibit").await;
        assert!(locks.is_held(round + 1, Duration::ZERO), "taken again");
    }

    double.prepare("PrepareForShutdown", true).await;
    let notice = next(&mut watch).await;
    let (end, within) = (SessionEnd::Shutdown, Duration::from_secs(4));
    assert_eq!(notice.event, LifecycleEvent::SessionEnding { end, within });
    double.prepare("PrepareForShutdown", false).await;
    assert_eq!(next(&mut watch).await.event, LifecycleEvent::SessionEndCancelled);
    double.called("Inhibit").await;
    drop(watch);
    assert!(!locks.is_held(4, DEADLINE), "the lock goes with the watch");
    drop(notice);
    assert!(!locks.is_held(3, DEADLINE));
}

/// S3.1: what the sources hold of the system is told, exactly as long as they hold it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_1_the_lock_and_the_name_on_the_bus_are_told() {
    let bus = Bus::start().await;
    buses(&bus.address, NOWHERE);
    let locks = Locks::default();
    let mut double = logind(&bus, &locks, Duration::from_secs(5)).await;
    let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
    let mut holdings = watch.holdings();
    let mut held = async |kinds: &[LeaseKind]| {
        let are = |held: &Holdings| held.values().map(|it| it.kind).eq(kinds.iter().copied());
        let held = timeout(DEADLINE, holdings.wait_for(are)).await.expect("told").unwrap();
        held.values().map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    let (name, lock) = (LeaseKind::BusName, LeaseKind::Inhibitor);
    double.called("Inhibit").await;
    let names = held(&[name, lock]).await;
    assert!(names[0].starts_with(":1.") && names[0].ends_with(" on the system bus"), "{names:?}");
    double.prepare("PrepareForSleep", true).await;
    let notice = next(&mut watch).await;
    held(&[name, lock]).await;
    drop(notice);
    held(&[name]).await;
    double.prepare("PrepareForSleep", false).await;
    double.called("Inhibit").await;
    held(&[name, lock]).await;
}

/// D5: a host that forgets holds the machine up no longer than the time it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_lock_goes_when_its_time_is_over() {
    let bus = Bus::start().await;
    buses(&bus.address, NOWHERE);
    let locks = Locks::default();
    let mut double = logind(&bus, &locks, Duration::from_millis(1_200)).await;
    let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
    double.called("Inhibit").await;
    double.prepare("PrepareForSleep", true).await;
    let notice = next(&mut watch).await;
    let given = Instant::now();
    assert_eq!(notice.event, LifecycleEvent::WillSleep { within: Duration::from_millis(200) });
    assert!(!tokio::task::block_in_place(|| locks.is_held(0, DEADLINE)), "let go of");
    assert!(given.elapsed() < DEADLINE / 2, "after {:?}", given.elapsed());
    drop(notice);
}

/// D5: a logind that starts anew gets a new lock taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_a_logind_that_comes_back_is_asked_again() {
    let bus = Bus::start().await;
    buses(&bus.address, NOWHERE);
    let locks = Locks::default();
    let mut double = logind(&bus, &locks, Duration::from_secs(5)).await;
    let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
    double.called("Inhibit").await;
    double.bus.release_name(LOGIND).await.unwrap();
    drop(double);
    let mut double = logind(&bus, &locks, Duration::from_secs(3)).await;
    double.called("Inhibit").await;
    assert!(locks.is_held(1, Duration::ZERO));
    double.prepare("PrepareForSleep", true).await;
    let notice = next(&mut watch).await;
    assert_eq!(notice.event, LifecycleEvent::WillSleep { within: Duration::from_secs(2) });
    drop(notice);
    assert!(!locks.is_held(1, DEADLINE));
}

/// D5: without a bus, or with a logind that gives no lock, everything else works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_nothing_depends_on_logind() {
    let bus = Bus::start().await;
    buses(&bus.address, NOWHERE);
    let mut double = Double::start(&bus, LOGIND, |_| Answer::Refusal).await;
    let mut watch = localport_lifecycle::watch(Host::Desktop).unwrap();
    double.called("Inhibit").await;
    double.prepare("PrepareForSleep", true).await;
    let notice = next(&mut watch).await;
    assert!(matches!(notice.event, LifecycleEvent::WillSleep { .. }));
    assert!(!notice.done.is_awaited(), "logind waits for nobody");
    drop((watch, double, bus));

    let mut watch = localport_lifecycle::watch(Host::Desktop).unwrap();
    // SAFETY: signals this process, which handles it.
    assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
    assert!(matches!(next(&mut watch).await.event, LifecycleEvent::QuitRequested { .. }));
}

async fn session_manager(bus: &Bus) -> Double {
    Double::start(bus, GNOME, |member| match member {
        "RegisterClient" => Answer::Path(CLIENT_PATH),
        _ => Answer::Nothing,
    })
    .await
}

/// D5: a logout is agreed to at once, waits until the host is done, and can be called off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_session_manager_gets_its_answer_when_the_host_is_done() {
    let bus = Bus::start().await;
    buses(NOWHERE, &bus.address);
    let mut double = session_manager(&bus).await;
    let mut watch = localport_lifecycle::watch(Host::Desktop).unwrap();
    let call = double.called("RegisterClient").await;
    let (app, startup): (String, String) = call.message.body().deserialize().unwrap();
    assert_eq!((&*app, &*startup), ("localport", "autostart-5"));

    double.emit(CLIENT_PATH, CLIENT, "QueryEndSession", &0_u32).await;
    let answer = double.called("EndSessionResponse").await;
    let (agreed, _): (bool, String) = answer.message.body().deserialize().unwrap();
    assert!(agreed);
    assert_eq!(answer.message.header().path().unwrap().as_str(), CLIENT_PATH);

    // What concerns another client is none of ours.
    double.emit("/org/gnome/SessionManager/Client8", CLIENT, "EndSession", &0_u32).await;
    double.emit(CLIENT_PATH, CLIENT, "EndSession", &0_u32).await;
    let notice = next(&mut watch).await;
    let LifecycleEvent::SessionEnding { end: SessionEnd::Logout, within } = notice.event else {
        panic!("{notice:?}");
    };
    assert!(within >= Duration::from_secs(1));
    assert!(double.is_not_called("EndSessionResponse", Duration::from_millis(300)).await);
    drop(notice);
    double.called("EndSessionResponse").await;

    double.emit(CLIENT_PATH, CLIENT, "EndSession", &0_u32).await;
    let notice = next(&mut watch).await;
    double.emit(CLIENT_PATH, CLIENT, "CancelEndSession", &()).await;
    assert_eq!(next(&mut watch).await.event, LifecycleEvent::SessionEndCancelled);
    drop(notice);
    assert!(double.is_not_called("EndSessionResponse", Duration::from_millis(300)).await);

    double.emit(CLIENT_PATH, CLIENT, "Stop", &()).await;
    assert!(matches!(next(&mut watch).await.event, LifecycleEvent::SessionEnding { .. }));
}

/// A headless host is no client of the desktop's session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_headless_host_does_not_register() {
    let bus = Bus::start().await;
    buses(NOWHERE, &bus.address);
    let mut double = session_manager(&bus).await;
    let _watch = localport_lifecycle::watch(Host::Headless).unwrap();
    assert!(double.is_not_called("RegisterClient", Duration::from_millis(300)).await);
}

/// S1.4: a hundred lives leave no descriptor, thread, lock or registration behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_4_a_hundred_lives_leave_nothing() {
    let bus = Bus::start().await;
    buses(&bus.address, &bus.address);
    let locks = Locks::default();
    let mut logind = logind(&bus, &locks, Duration::from_secs(5)).await;
    let mut gnome = session_manager(&bus).await;
    let mut first = None;
    for life in 0..100 {
        let watch = localport_lifecycle::watch(Host::Desktop).unwrap();
        logind.called("Inhibit").await;
        gnome.called("RegisterClient").await;
        drop(watch);
        let gone = tokio::task::block_in_place(|| !locks.is_held(life, DEADLINE));
        assert!(gone, "the lock of life {life}");
        if life == 9 {
            first = Some(descriptors());
        }
    }
    // Each life left our ends of its pipe in this test.
    let expected = first.unwrap() + 90;
    let end = Instant::now() + DEADLINE;
    while descriptors() > expected && Instant::now() < end {
        tokio::task::yield_now().await;
    }
    assert!(descriptors() <= expected, "{} descriptors, {expected} expected", descriptors());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn ip(arguments: &str) -> bool {
    let done = Command::new("ip").args(arguments.split(' ')).output();
    done.is_ok_and(|output| output.status.success())
}

/// G2, S5.2: an address that comes or goes is told once, from the real kernel.
#[tokio::test]
async fn g2_a_changed_network_is_told_once() {
    // A network of this test's own, where that is allowed.
    // SAFETY: the process has one thread that matters here: the runtime's, this one.
    let own = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if !own || !ip("link set lo up") {
        println!("no network namespace here: nothing was shown");
        return;
    }
    buses(NOWHERE, NOWHERE);
    let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
    // The source listens once its task ran.
    let mut heard = None;
    for last in 1..100 {
        assert!(ip(&format!("address add 10.99.0.{last}/32 dev lo")));
        if let Ok(notice) = timeout(Duration::from_secs(2), watch.next()).await {
            heard = Some(notice.event);
            break;
        }
    }
    assert_eq!(heard, Some(LifecycleEvent::NetworkChanged));
    for last in 200..210 {
        assert!(ip(&format!("address add 10.99.0.{last}/32 dev lo")));
    }
    assert!(ip("address del 10.99.0.200/32 dev lo"));
    let notice = timeout(DEADLINE, watch.next()).await.expect("the burst");
    assert_eq!(notice.event, LifecycleEvent::NetworkChanged);
    assert!(ip("address change 10.99.0.201/32 dev lo valid_lft 1000 preferred_lft 1000"));
    let again = timeout(Duration::from_secs(1), watch.next()).await;
    assert!(again.is_err(), "a burst is one change, a renewed lifetime none: {again:?}");
}
