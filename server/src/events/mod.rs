//! The event stream: who is connected, what each was told last, and what each is told next.
//!
//! A [`Hub`] follows the store. For each namespace that somebody reads there is a channel, in it a group for each
//! distinct selection of flags, in that the readers. A new version costs each group one closure, one comparison and one
//! serialisation, whatever the number of its readers: they share the bytes. Readers have a bounded queue each; one that
//! does not keep up loses its queue and is told to fetch everything instead, which costs the others nothing.
//!
//! The wire is described in `docs/protocol-notes.md`, "Event stream".

mod change;
mod channel;
mod closures;
mod hub;
mod lease;
mod reader;
mod signing;
mod subscription;

pub use closures::PackedClosure;
pub use hub::{Hub, ReaderReport, Watch};
pub use lease::{Lease, Signal};
pub use reader::{EventStream, Peer};
pub(crate) use signing::Purpose;
pub use signing::{Refused, Signer, SigningKey, VALID_FOR};
pub use subscription::Subscription;
pub(crate) use subscription::parse_flags;
