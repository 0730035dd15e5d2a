//! The one refresh engine: load, check, compile, swap, and what is known about how that goes.
//!
//! A [`Product`] says how a document becomes a snapshot; the [`Feed`] owns everything else. Flags, settings and
//! gate add no loop of their own.

mod block_on;
mod feed;
mod keep;
mod ladder;
mod product;
mod pulse;
mod state;
mod status;

pub use self::{
    block_on::block_on,
    feed::{Feed, Loaded, Schedule},
    keep::Keep,
    ladder::Ladder,
    product::Product,
    pulse::Stop,
    status::{Origin, Outcome, StalePolicy, Status, metrics_text},
};

pub(crate) use self::pulse::Pulse;
