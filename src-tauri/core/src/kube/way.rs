//! Owns which protocol carries a cluster's connections, and when another one is tried.
//!
//! Receives what a server answered to an upgrade, emits the next protocol or none: what
//! would be refused in the same way by the others is reported and not tried on them.

use std::time::Duration;

/// Time after which a lower way is doubted: the server, or a proxy before it, may have
/// learned the higher one without showing another version.
const VERDICT_AGE: Duration = Duration::from_secs(24 * 3_600);

/// A protocol of port-forward, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// SPDY/3.1 inside WebSocket messages, many connections in one: Kubernetes 1.31.
    SpdyWs,
    /// SPDY/3.1 on an upgraded connection, many connections in one: all versions.
    Spdy,
    /// One WebSocket per connection: all versions.
    V4,
}

impl Way {
    /// Every way, the best first.
    pub const ALL: [Way; 3] = [Way::SpdyWs, Way::Spdy, Way::V4];

    /// The word that people see as `tunnel.path`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Way::SpdyWs => "spdy-ws",
            Way::Spdy => "spdy",
            Way::V4 => "v4",
        }
    }

    /// The next one down.
    #[must_use]
    pub fn below(self) -> Option<Way> {
        match self {
            Way::SpdyWs => Some(Way::Spdy),
            Way::Spdy => Some(Way::V4),
            Way::V4 => None,
        }
    }
}

/// What came in the place of an upgraded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An HTTP status.
    Status {
        /// The status.
        code: u16,
        /// Whether Kubernetes itself said it: the body is a `Status` object. A proxy or
        /// a handler that does not know the protocol answers otherwise.
        by_kubernetes: bool,
    },
    /// An upgrade to something else than what was asked for.
    Mismatch,
    /// No answer to the first ping: something on the way upgrades and carries nothing.
    NoPong,
}

/// The way to try after `way` was refused; none where the refusal counts for all.
#[must_use]
pub fn fall_back(way: Way, refusal: Refusal) -> Option<Way> {
    let falls = match refusal {
        Refusal::Mismatch | Refusal::NoPong => true,
        Refusal::Status { code, by_kubernetes } => match code {
            // Not understood, whoever says so. The server's own 400 may also mean a pod
            // without a node; then all ways end with it, and the last one reports it.
            400 | 405 | 426 | 501 | 502 => true,
            // Kubernetes' own are about rights, the pod, or itself.
            403 | 404 | 500 => !by_kubernetes,
            _ => false,
        },
    };
    way.below().filter(|_| falls)
}

/// Which way was found to work on a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The way.
    pub way: Way,
    /// The server's version as it says it, where it was known.
    pub version: Option<String>,
    /// The road to the server it was found on: its address, and the proxy or SSH host on
    /// the way, any of which may be what understands no better way.
    pub road: String,
    /// When it was found, as time since any fixed moment.
    pub found: Duration,
}

/// The way to begin with at `now`, on a server of `version` at the end of `road`: the one
/// that was found, unless it is a lower one and there is reason to hope for more.
#[must_use]
pub fn begin(verdict: Option<&Verdict>, version: Option<&str>, road: &str, now: Duration) -> Way {
    match verdict {
        None => Way::SpdyWs,
        Some(verdict) => {
            let old = now.saturating_sub(verdict.found) >= VERDICT_AGE;
            let other = match (&verdict.version, version) {
                (Some(then), Some(now)) => then != now,
                _ => false,
            };
            if old || other || verdict.road != road { Way::SpdyWs } else { verdict.way }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, by_kubernetes: bool) -> Refusal {
        Refusal::Status { code, by_kubernetes }
    }

    /// G6: the matrix, from `SpdyWs`; `Spdy` falls in the same cases, one further.
    #[test]
    fn g6_what_falls_back_and_what_does_not() {
        let table = [
            (Refusal::Mismatch, true),
            (Refusal::NoPong, true),
            (status(400, false), true),
            (status(400, true), true),
            (status(401, true), false),
            (status(401, false), false),
            (status(403, false), true),
            (status(403, true), false),
            (status(404, false), true),
            (status(404, true), false),
            (status(405, false), true),
            (status(426, false), true),
            (status(429, true), false),
            (status(429, false), false),
            (status(500, true), false),
            (status(500, false), true),
            (status(501, false), true),
            (status(502, false), true),
            (status(503, true), false),
            (status(503, false), false),
            (status(504, false), false),
            (status(200, false), false),
        ];
        for (refusal, falls) in table {
            let after = |way: Way| if falls { way.below() } else { None };
            for way in Way::ALL {
                assert_eq!(fall_back(way, refusal), after(way), "{way:?} {refusal:?}");
            }
        }
    }

    #[test]
    fn a_verdict_holds_for_a_day_one_version_and_one_road() {
        const ROAD: &str = "https://api:6443";
        let verdict = |way| Verdict {
            way,
            version: Some("v1.28.3".to_owned()),
            road: ROAD.to_owned(),
            found: Duration::from_secs(100),
        };
        let soon = Duration::from_secs(200);
        let lower = verdict(Way::V4);
        assert_eq!(begin(None, None, ROAD, soon), Way::SpdyWs);
        assert_eq!(begin(Some(&lower), Some("v1.28.3"), ROAD, soon), Way::V4);
        assert_eq!(begin(Some(&lower), None, ROAD, soon), Way::V4);
        assert_eq!(begin(Some(&lower), Some("v1.36.2"), ROAD, soon), Way::SpdyWs);
        assert_eq!(begin(Some(&lower), Some("v1.28.3"), ROAD, soon + VERDICT_AGE), Way::SpdyWs);
        let other = "https://api:6443 over socks5://proxy:1080";
        assert_eq!(begin(Some(&lower), Some("v1.28.3"), other, soon), Way::SpdyWs);
        // A clock that went back makes nothing old.
        assert_eq!(begin(Some(&lower), None, ROAD, Duration::ZERO), Way::V4);
        assert_eq!(begin(Some(&verdict(Way::SpdyWs)), None, ROAD, soon), Way::SpdyWs);
    }
}
