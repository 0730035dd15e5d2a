//! Server-sent events: bytes become events, as the WHATWG standard has it, within bounds; and how a stream stands.
//!
//! A decoder takes bytes as they arrive, cut anywhere. It opens no connection and knows no time: reconnecting and waiting
//! are the link's business, and what events mean is its user's.

mod decoder;
mod link;
mod status;

pub(crate) use self::link::{Happening, Link, are_of_events, asking_for_events};

pub use self::{
    decoder::{Decoder, Event, Limits},
    status::{StreamState, StreamStatus},
};
