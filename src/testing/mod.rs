//! For tests: a clock moved by hand, doubles, mocks, and the conformance kit that every backend must pass.
//!
//! Feature `testing`. The kit may get stricter in a minor release: a backend that passes today and fails then was
//! wrong before. Mocks are for assertions about calls; the doubles behave.

pub mod conformance;
mod manual_clock;
mod recording_sink;
mod scripted_source;
mod scripted_transport;

pub use self::{
    manual_clock::ManualClock,
    recording_sink::RecordingSink,
    scripted_source::ScriptedSource,
    scripted_transport::{Answer, ScriptedTransport},
};
pub use crate::traits::{MockCacheStore, MockClock, MockSource, MockTelemetrySink, MockTransport};
