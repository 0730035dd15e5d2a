//! What a feed remembers of its loads.

use std::time::{Duration, SystemTime};

use super::{product::Product, status::Origin};
use crate::{ErrorKind, document::Revision, error::chain, traits::Tick};

/// How the loads of a feed went.
#[derive(Debug)]
pub(super) struct State {
    /// The latest begun of the loads that have settled; one that began earlier no longer counts.
    pub(super) ticket: u64,
    pub(super) origin: Origin,
    /// The source's latest name for the state being served: it may name the same content anew.
    pub(super) revision: Option<Revision>,
    pub(super) confirmed_at: Tick,
    /// How old the state was when it was taken from what is kept.
    pub(super) age_at_start: Duration,
    pub(super) last_success: Option<SystemTime>,
    pub(super) last_error: Option<(String, ErrorKind)>,
    pub(super) consecutive_failures: u64,
    pub(super) failures: u64,
    /// The source asked to be left alone until then.
    pub(super) not_before: Tick,
    pub(super) bytes: u64,
    pub(super) quarantined: Option<Revision>,
    pub(super) warned_of_age: bool,
    /// When what is kept was last written or confirmed.
    pub(super) kept_at: Option<SystemTime>,
}

impl State {
    /// Notes that a load came to nothing.
    pub(super) fn fail<P: Product>(&mut self, error: &P::Error) {
        self.last_error = Some((chain(error), P::kind(error)));
        self.consecutive_failures += 1;
        self.failures += 1;
    }
}
