//! Owns the word of logind about sleep and shutdown, and the lock that delays both until
//! LocalPort is done.
//!
//! One `delay` lock is held as long as nothing happens. With the word that a sleep or a
//! shutdown is coming it goes along with the notice; it is taken again afterwards.

use crate::Notice;
use crate::clock;
use crate::done::{Done, Hold, Kept};
use crate::holdings::{Held, List};
use crate::services::{Say, Unsettled};
use futures_util::StreamExt;
use localport_core::lifecycle::gap::Reading;
use localport_core::lifecycle::{LifecycleEvent, SessionEnd};
use localport_core::resource::LeaseKind;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant};

const LOGIND: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
/// What logind is asked to wait with.
const WHAT: &str = "sleep:shutdown";
const BUS: &str = "org.freedesktop.DBus";

/// What is left of logind's own limit for the lock to travel back to it.
const RESERVE: Duration = Duration::from_secs(1);
/// logind's default limit, for when it does not say.
const USUAL_LIMIT: Duration = Duration::from_secs(5);
/// Time there is when logind gave no lock: it waits for nobody then.
const WITHOUT_LOCK: Duration = Duration::from_millis(500);

/// Says what logind says, as long as there is a system bus.
pub(crate) async fn watch(say: Say, busy: Unsettled, list: List) {
    if let Err(error) = follow(&say, busy, list).await {
        tracing::info!("logind is not watched ({error}): the clocks tell a sleep when it is over");
    }
}

async fn follow(say: &Say, busy: Unsettled, list: List) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let _name = list.hold_name(&bus, "system");
    let mut sleeps = signals(&bus, LOGIND, MANAGER, "PrepareForSleep", None).await?;
    let mut shutdowns = signals(&bus, LOGIND, MANAGER, "PrepareForShutdown", None).await?;
    let mut owners = signals(&bus, BUS, BUS, "NameOwnerChanged", Some(LOGIND)).await?;
    let mut delay = Delay { bus, lock: None, given: None, missing: false, list };
    delay.take().await;
    drop(busy);
    let mut before = clock::read();
    loop {
        let notice = tokio::select! {
            Some(signal) = sleeps.next() => match signal?.body().deserialize::<bool>()? {
                true => {
                    before = clock::read();
                    let (within, done) = delay.give().await;
                    Notice { event: LifecycleEvent::WillSleep { within }, done }
                }
                false => {
                    delay.take().await;
                    Notice::of(woke(before))
                }
            },
            Some(signal) = shutdowns.next() => match signal?.body().deserialize::<bool>()? {
                true => {
                    let (within, done) = delay.give().await;
                    let end = SessionEnd::Shutdown;
                    Notice { event: LifecycleEvent::SessionEnding { end, within }, done }
                }
                false => {
                    delay.take().await;
                    Notice::of(LifecycleEvent::SessionEndCancelled)
                }
            },
            Some(changed) = owners.next() => {
                let (_, _, owner): (String, String, String) = changed?.body().deserialize()?;
                if !owner.is_empty() {
                    // It started anew and may know nothing of the lock.
                    delay.take().await;
                }
                continue;
            }
            () = delay.expired() => continue,
            else => return Ok(()),
        };
        if say.send(notice).await.is_err() {
            return Ok(());
        }
    }
}

fn woke(before: Reading) -> LifecycleEvent {
    LifecycleEvent::DidWake { slept: clock::read().slept_since(&before) }
}

/// The lock, and the one that was given away with a notice.
struct Delay {
    bus: Connection,
    lock: Option<Lock>,
    given: Option<(Instant, Arc<Kept<Lock>>)>,
    missing: bool,
    list: List,
}

/// The descriptor that the system waits for, and its place in the list.
type Lock = (OwnedFd, Held);

impl Delay {
    /// Takes the lock, in the place of an earlier one.
    async fn take(&mut self) {
        match self.inhibit().await {
            Ok(lock) => {
                self.lock = Some((lock, self.list.hold(LeaseKind::Inhibitor, WHAT)));
                self.missing = false;
            }
            Err(error) if !self.missing => {
                self.missing = true;
                self.lock = None;
                tracing::info!("logind gives no lock: sleep and shutdown do not wait: {error}");
            }
            Err(_) => self.lock = None,
        }
    }

    async fn inhibit(&self) -> zbus::Result<OwnedFd> {
        let wish = (WHAT, "LocalPort", "Forwards go quiet in good order", "delay");
        let reply =
            self.bus.call_method(Some(LOGIND), PATH, Some(MANAGER), "Inhibit", &wish).await?;
        Ok(reply.body().deserialize::<zbus::OwnedFd>()?.into())
    }

    /// Gives the lock away: it goes when `Done` is dropped, or when its time is over.
    async fn give(&mut self) -> (Duration, Done) {
        let Some(lock) = self.lock.take() else { return (WITHOUT_LOCK, Done::nobody()) };
        let within = self.limit().await.unwrap_or(USUAL_LIMIT).saturating_sub(RESERVE);
        let kept = Kept::new(lock);
        self.given = Some((Instant::now() + within, kept.clone()));
        (within, Done::holding(kept))
    }

    async fn limit(&self) -> zbus::Result<Duration> {
        let reply = self
            .bus
            .call_method(
                Some(LOGIND),
                PATH,
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &(MANAGER, "InhibitDelayMaxUSec"),
            )
            .await?;
        let micros = u64::try_from(reply.body().deserialize::<OwnedVariant>()?)?;
        Ok(Duration::from_micros(micros))
    }

    /// Resolves when the lock that was given away is over its time, and lets go of it.
    async fn expired(&mut self) {
        match &self.given {
            Some((until, kept)) => {
                sleep_until(*until).await;
                kept.let_go();
                self.given = None;
            }
            None => pending().await,
        }
    }
}

/// The signals `member` of `interface` from `sender`, with this first argument.
pub(super) async fn signals(
    bus: &Connection,
    sender: &'static str,
    interface: &'static str,
    member: &'static str,
    argument: Option<&'static str>,
) -> zbus::Result<MessageStream> {
    let mut rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(sender)
        .interface(interface)
        .member(member);
    if let Some(argument) = argument {
        rule = rule.add_arg(argument);
    }
    MessageStream::for_match_rule(rule.build()?, bus, None).await
}
