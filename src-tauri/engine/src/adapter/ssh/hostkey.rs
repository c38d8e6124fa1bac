//! Owns host keys that `ssh` could not verify: what they are, and how an unknown one is
//! accepted.

use super::Ground;
use super::destination::Destination;
use localport_core::problem::Problem;

/// `problem`, with the fingerprint where it is about a host key.
pub(super) async fn explain(
    _ground: &Ground,
    _destination: &Destination,
    problem: Problem,
    _tail: &[String],
) -> Problem {
    problem
}
