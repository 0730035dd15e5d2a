//! The one refresh engine: load, check, compile, swap, and what is known about how that goes.
//!
//! A [`Product`] says how a document becomes a snapshot; the [`Feed`] owns everything else. Flags, settings and
//! gate add no loop of their own.

mod block_on;
mod feed;
mod pulse;

pub use self::{
    block_on::block_on,
    feed::{Feed, Loaded, Outcome, Product, Schedule, Status},
    pulse::Stop,
};
