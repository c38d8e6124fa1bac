//! Signals become values, and handlers live and die with the watch (S1.1–S1.4).
#![cfg(unix)]
#![allow(unsafe_code, clippy::expect_used)]

use localport_core::lifecycle::{LifecycleEvent, QuitSource};
use localport_lifecycle::Host;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::timeout;

static OWN: AtomicU32 = AtomicU32::new(0);

extern "C" fn own_handler(_: libc::c_int) {
    OWN.fetch_add(1, Ordering::SeqCst);
}

fn handler_of(signal: i32) -> usize {
    // SAFETY: a null new action only reads.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &raw mut action), 0);
        action.sa_sigaction
    }
}

fn set_handler(signal: i32, handler: usize) {
    // SAFETY: the handler is a function of this test, SIG_IGN or SIG_DFL.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
    }
}

fn raise(signal: i32) {
    // To this thread, so that the handler has run when the call returns.
    // SAFETY: signals this process, which handles it.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

async fn next(watch: &mut localport_lifecycle::Watch) -> LifecycleEvent {
    timeout(Duration::from_secs(5), watch.next()).await.expect("an event within 5 s").event
}

/// One test: dispositions belong to the whole process.
#[tokio::test]
async fn signals_are_values_and_handlers_are_given_back() {
    let own = own_handler as *const () as usize;
    set_handler(libc::SIGTERM, own);
    set_handler(libc::SIGHUP, libc::SIG_IGN);

    // S1.4: a hundred lives in one process.
    for life in 1..=100 {
        let mut watch = localport_lifecycle::watch(Host::Headless).unwrap();
        assert_ne!(handler_of(libc::SIGTERM), own, "taken over in life {life}");
        assert_eq!(handler_of(libc::SIGHUP), libc::SIG_IGN, "ignored stays ignored");
        raise(libc::SIGTERM);
        let event = next(&mut watch).await;
        let terminate = LifecycleEvent::QuitRequested { source: QuitSource::Terminate };
        assert_eq!(event, terminate, "in life {life}");
        raise(libc::SIGINT);
        let event = next(&mut watch).await;
        let terminal = LifecycleEvent::QuitRequested { source: QuitSource::Terminal };
        assert_eq!(event, terminal, "in life {life}");
        drop(watch);
        assert_eq!(handler_of(libc::SIGTERM), own, "given back after life {life}");
        assert_eq!(handler_of(libc::SIGINT), libc::SIG_DFL, "given back after life {life}");
    }
    // tokio calls the handler that it found, so that one saw every signal as well.
    assert_eq!(OWN.load(Ordering::SeqCst), 100);
    raise(libc::SIGTERM);
    assert_eq!(OWN.load(Ordering::SeqCst), 101, "the embedding program's own handler works");

    // Two watches at once: the first to go takes nothing from the second.
    set_handler(libc::SIGHUP, libc::SIG_DFL);
    let first = localport_lifecycle::watch(Host::Headless).unwrap();
    let mut second = localport_lifecycle::watch(Host::Headless).unwrap();
    drop(first);
    raise(libc::SIGINT);
    assert!(matches!(next(&mut second).await, LifecycleEvent::QuitRequested { .. }));

    // S1.2: ten thousand signals are absorbed, and the watch still works after them.
    for _ in 0..10_000 {
        raise(libc::SIGINT);
    }
    let mut received = 0;
    while timeout(Duration::from_millis(200), second.next()).await.is_ok() {
        received += 1;
    }
    assert!((1..=10_000).contains(&received), "{received} events of 10,000 signals");

    // A HUP while the terminal, if any, is still there asks for a reload.
    raise(libc::SIGHUP);
    assert_eq!(next(&mut second).await, LifecycleEvent::ReloadRequested);
}
