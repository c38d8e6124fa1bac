//! Owns one forward's share of a master: its dials, its proofs, its end.

use super::carrier::{DialError, REASON_PROHIBITED};
use super::classify;
use super::pool::{Pool, Use};
use crate::adapter::{ConnectError, Connection, Route, Session, Verdict};
use crate::registry::{Lease, LeaseId};
use futures_util::future::BoxFuture;
use localport_core::problem::{Code, Problem};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Time the far side has for one dial; its own limit is minutes.
const DIAL: Duration = Duration::from_secs(10);

pub(super) struct SshSession {
    share: Use,
    pool: Weak<Pool>,
    host: String,
    port: u16,
    lease: Lease,
}

impl SshSession {
    pub(super) fn new(share: Use, pool: Weak<Pool>, host: String, port: u16, lease: Lease) -> Self {
        Self { share, pool, host, port, lease }
    }

    fn target(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn dialled<T>(
        &self,
        dial: impl Future<Output = Result<T, DialError>>,
    ) -> Result<T, Problem> {
        let master = &self.share.master;
        let asked = Instant::now();
        let result = tokio::select! {
            result = timeout(DIAL, dial) => result,
            problem = master.ended() => return Err(problem),
        };
        match result {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.problem(error).await),
            // Silence of the whole connection is not the target's.
            Err(_) if master.carrier.heard().is_some_and(|heard| heard < asked) => {
                Err(classify::frozen(&master.words))
            }
            Err(_) => Err(classify::timed_out(&self.target(), &master.words)),
        }
    }

    async fn problem(&self, error: DialError) -> Problem {
        let words = &self.share.master.words;
        match error {
            DialError::Refused(refusal) => classify::refused(
                refusal.reason == REASON_PROHIBITED,
                &refusal.text,
                &self.target(),
                words,
            ),
            DialError::Ended(problem) => self.better_words(problem).await,
            DialError::Broken(error) => {
                self.better_words(super::lost(format!("`ssh` to `{words}` broke off: {error}")))
                    .await
            }
        }
    }

    /// The process' last words, which come a moment after its socket closed.
    async fn better_words(&self, problem: Problem) -> Problem {
        const MOMENT: Duration = Duration::from_millis(500);
        timeout(MOMENT, self.share.master.ended()).await.unwrap_or(problem)
    }
}

impl Session for SshSession {
    fn route(&self) -> Route {
        let master = &self.share.master;
        Route { path: master.carrier.path().into(), endpoint: master.words.clone() }
    }

    fn stands_on(&self) -> Vec<LeaseId> {
        vec![self.lease.id()]
    }

    fn connect(&self) -> BoxFuture<'_, Result<Connection, ConnectError>> {
        Box::pin(async {
            let dial = self.share.master.carrier.dial(&self.host, self.port);
            match self.dialled(dial).await {
                Ok(stream) => Ok(Connection { stream }),
                Err(problem) => Err(ConnectError { verdict: verdict(problem.code), problem }),
            }
        })
    }

    fn lost(&self) -> BoxFuture<'_, Problem> {
        Box::pin(self.share.master.ended())
    }

    fn rerouted<'a>(&'a self, _seen: &'a Route) -> BoxFuture<'a, Route> {
        // The end is where the configuration says, as long as the session lives.
        Box::pin(std::future::pending())
    }

    fn ping(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        Box::pin(async {
            match self.share.master.ping().await? {
                Some(took) => Ok(took),
                None => self.probe().await,
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<Duration, Problem>> {
        Box::pin(async {
            let asked = Instant::now();
            self.dialled(self.share.master.carrier.check(&self.host, self.port)).await?;
            Ok(asked.elapsed())
        })
    }

    fn forsake(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.forsake(&self.share.master);
        }
    }
}

/// Only the target's own no ends a client; everything else may be over in a moment.
fn verdict(code: Code) -> Verdict {
    match code {
        Code::TargetRefused | Code::TargetTimeout | Code::SshForwardingForbidden => Verdict::Refuse,
        _ => Verdict::Hold,
    }
}
