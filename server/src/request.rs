//! What is known of a request besides what it asks.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::extract::FromRequestParts;
use http::request::Parts;
use leverframe::traits::Tick;
use ulid::{ULID_LEN, Ulid};

use crate::{app::App, principal::Principal, problem::Problem};

/// The request's id, where it came from and who it turned out to be from; clones share it.
#[derive(Clone, Debug)]
pub struct RequestInfo(Arc<Info>);

#[derive(Debug)]
struct Info {
    id: [u8; ULID_LEN],
    begun: Tick,
    wall: SystemTime,
    peer: Option<IpAddr>,
    principal: OnceLock<Asker>,
}

/// Whoever the request turned out to be from.
#[derive(Debug)]
enum Asker {
    Principal(Principal),
    /// The id of a key or a session of settings.
    Key(Arc<str>),
}

impl RequestInfo {
    /// Makes what is known at first.
    #[must_use]
    pub fn new(id: Ulid, begun: Tick, wall: SystemTime, peer: Option<IpAddr>) -> Self {
        let mut digits = [0; ULID_LEN];
        id.array_to_str(&mut digits);
        Self(Arc::new(Info { id: digits, begun, wall, peer, principal: OnceLock::new() }))
    }

    /// Returns the id: a ULID, which the answer carries in `x-request-id` and, if it is JSON, in `request_id`.
    #[must_use]
    pub fn id(&self) -> &str {
        // A ULID is written with digits and capital letters.
        std::str::from_utf8(&self.0.id).unwrap_or_default()
    }

    /// Returns when the request began to be answered.
    #[must_use]
    pub fn begun(&self) -> Tick {
        self.0.begun
    }

    /// Returns the time of day at which the request began to be answered.
    #[must_use]
    pub fn wall(&self) -> SystemTime {
        self.0.wall
    }

    /// Returns the address that the connection came from, which may be a proxy's.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.0.peer
    }

    /// Returns the id of the principal, once it is known.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        self.0.principal.get().map(|asker| match asker {
            Asker::Principal(principal) => &*principal.token().id,
            Asker::Key(id) => id,
        })
    }

    pub(crate) fn learn_principal(&self, principal: &Principal) {
        // Learnt once; a second extractor finds the same one.
        let _ = self.0.principal.set(Asker::Principal(principal.clone()));
    }

    pub(crate) fn learn_key(&self, id: &Arc<str>) {
        // As above.
        let _ = self.0.principal.set(Asker::Key(Arc::clone(id)));
    }
}

impl FromRequestParts<App> for RequestInfo {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(parts.extensions.get_or_insert_with(|| app.begin(None)).clone())
    }
}

/// Makes ids that sort by time and never repeat in one process; across processes 64 random bits tell them apart.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: u64,
    count: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        // What a hasher of nothing returns is decided by its random keys alone.
        Self { seed: RandomState::new().build_hasher().finish(), count: AtomicU64::new(0) }
    }

    /// Returns the next id. It can be guessed, which an id may be.
    pub(crate) fn next(&self, wall: SystemTime) -> Ulid {
        let millis = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let random = u128::from(count & 0xffff) << 64 | u128::from(scattered(self.seed.wrapping_add(count)));
        Ulid::from_parts(u64::try_from(millis).unwrap_or(0), random)
    }
}

/// Sends each number to another one, far from its neighbour's.
fn scattered(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ x >> 32
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;

    #[test]
    fn ids_are_ulids_that_differ_and_carry_the_time() {
        let ids = Ids::new();
        let wall = UNIX_EPOCH + Duration::from_millis(1_780_000_000_123);

        let made: HashSet<String> = (0..100_000).map(|_| ids.next(wall).to_string()).collect();

        assert_eq!(made.len(), 100_000);
        assert!(made.iter().all(|id| id.len() == 26
            && Ulid::from_string(id).is_ok_and(|id| id.timestamp_ms() == 1_780_000_000_123)));
    }
}
