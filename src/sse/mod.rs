//! Server-sent events: bytes become events, as the WHATWG standard has it, within bounds; and how a stream stands.
//!
//! A decoder takes bytes as they arrive, cut anywhere. It opens no connection and knows no time: reconnecting, waiting
//! and what events mean are its user's business.

mod decoder;
mod status;

pub use self::{
    decoder::{Decoder, Event, Limits},
    status::{StreamState, StreamStatus},
};
