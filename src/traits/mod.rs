//! The five contracts that every outside part fulfils: where data comes from, how it travels, where it is cached,
//! where telemetry goes, what time it is.
//!
//! No I/O and no third-party client type in here (`http` and `bytes` are vocabulary). All traits are object-safe,
//! `Debug + Send + Sync + 'static`, and their clauses are numbered: the conformance kit (feature `testing`) has one
//! test for each.

mod cache_store;
mod clock;
mod source;
mod telemetry_sink;
mod transport;

#[cfg(any(test, feature = "testing"))]
pub use self::{
    cache_store::MockCacheStore, clock::MockClock, source::MockSource, telemetry_sink::MockTelemetrySink,
    transport::MockTransport,
};
pub use self::{
    cache_store::{CacheEntry, CacheKey, CacheStore},
    clock::{BoxFuture, Clock, Tick},
    source::{Load, Source},
    telemetry_sink::{EvaluationReason, EvaluationRecord, FlushReport, TelemetrySink},
    transport::{Body, Chunks, Request, Response, Transport, redacted},
};
