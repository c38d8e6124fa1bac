//! Owns when credentials are to be replaced.
//!
//! Receives tokens and times, emits times: a JSON Web Token says itself when it ends.

use std::time::Duration;

/// Credentials are replaced so long before they end, and after three quarters of their
/// time when that is sooner: a token of a minute would otherwise be replaced at each use.
const MARGIN: Duration = Duration::from_secs(60);

/// What the age of credentials asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Nothing.
    Fresh,
    /// They still hold, and are to be replaced while they do.
    Ending,
    /// They must not be used any more.
    Ended,
}

/// The age at `now` of credentials that came at `obtained` and hold until `expires`, all
/// as time since the Unix epoch.
#[must_use]
pub fn age(obtained: Duration, expires: Option<Duration>, now: Duration) -> Age {
    let Some(expires) = expires else { return Age::Fresh };
    if now >= expires {
        return Age::Ended;
    }
    let margin = MARGIN.min(expires.saturating_sub(obtained) / 4);
    if now + margin >= expires { Age::Ending } else { Age::Fresh }
}

/// When `token` ends, as time since the Unix epoch, if it is a JSON Web Token that says so.
#[must_use]
pub fn token_expiry(token: &str) -> Option<Duration> {
    let mut parts = token.trim().split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims: serde_json::Value = serde_json::from_slice(&base64url(claims)?).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    // What lies further away than a person lives is no expiry.
    (0.0..1e11).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// RFC 4648 section 5, without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// S7.4: before expiry, not at it.
    #[test]
    fn s7_4_credentials_are_replaced_while_they_hold() {
        let hour = Some(at(3_600));
        assert_eq!(age(at(0), None, at(1 << 40)), Age::Fresh);
        assert_eq!(age(at(0), hour, at(3_539)), Age::Fresh);
        assert_eq!(age(at(0), hour, at(3_540)), Age::Ending);
        assert_eq!(age(at(0), hour, at(3_600)), Age::Ended);
        // A short one is not replaced the moment it came.
        assert_eq!(age(at(0), Some(at(40)), at(29)), Age::Fresh);
        assert_eq!(age(at(0), Some(at(40)), at(30)), Age::Ending);
        // One that came expired, or a clock that is wrong.
        assert_eq!(age(at(100), Some(at(50)), at(100)), Age::Ended);
    }

    #[test]
    fn a_web_token_says_its_end() {
        // {"alg":"none"} . {"sub":"me","exp":1700000000} . signature
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSIsImV4cCI6MTcwMDAwMDAwMH0.c2ln";
        assert_eq!(token_expiry(token), Some(at(1_700_000_000)));
        for other in ["", "plain-token", "a.b", "a.b.c", "a.!!.c", "a.e30.c", "a.e30.c.d"] {
            assert_eq!(token_expiry(other), None, "{other}");
        }
        // {"exp":1e300}
        assert_eq!(token_expiry("a.eyJleHAiOjFlMzAwfQ.c"), None);
    }

    #[test]
    fn base64url_as_in_the_standard() {
        assert_eq!(base64url("Zm9vYmE").unwrap(), b"fooba");
        assert_eq!(base64url("-_-_").unwrap(), [0xfb, 0xff, 0xbf]);
        assert_eq!(base64url("Zg==").unwrap(), b"f");
        assert_eq!(base64url("a+b/"), None);
    }
}
