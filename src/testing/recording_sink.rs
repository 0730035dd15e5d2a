//! A sink that keeps what it gets.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    Result,
    traits::{EvaluationRecord, FlushReport, TelemetrySink},
};

/// A sink in memory; clones are handles to one place.
///
/// # Examples
/// ```
/// use leverframe::{live::block_on, testing::RecordingSink, traits::{EvaluationReason, EvaluationRecord, TelemetrySink}};
/// let sink = RecordingSink::new(100);
/// sink.record(&EvaluationRecord::new("shop", "production", "banner", EvaluationReason::Default));
/// assert_eq!(block_on(sink.flush(std::time::Duration::from_secs(1))).sent, 1);
/// assert_eq!(sink.sent().len(), 1);
/// ```
#[derive(Clone, Debug)]
pub struct RecordingSink {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    waiting: Vec<EvaluationRecord>,
    sent: Vec<EvaluationRecord>,
    dropped: u64,
    broken: bool,
    closed: bool,
}

impl RecordingSink {
    /// Makes a sink that lets at most `capacity` records wait.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let shared = Shared {
            capacity,
            waiting: Vec::new(),
            sent: Vec::new(),
            dropped: 0,
            broken: false,
            closed: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Returns what was handed over.
    #[must_use]
    pub fn sent(&self) -> Vec<EvaluationRecord> {
        self.lock().sent.clone()
    }

    /// Lets flushes fail, or succeed again.
    pub fn set_broken(&self, broken: bool) {
        self.lock().broken = broken;
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TelemetrySink for RecordingSink {
    fn name(&self) -> &'static str {
        "recording"
    }

    fn record(&self, record: &EvaluationRecord) {
        let mut shared = self.lock();
        if shared.closed || shared.waiting.len() >= shared.capacity {
            shared.dropped += 1;
        } else {
            shared.waiting.push(record.clone());
        }
    }

    async fn flush(&self, _deadline: Duration) -> FlushReport {
        let mut shared = self.lock();
        let dropped = std::mem::take(&mut shared.dropped);
        if shared.broken {
            // Told as pending now, so they are told again as sent or dropped, and then never more.
            return FlushReport { sent: 0, dropped, pending: shared.waiting.len() as u64 };
        }
        let waiting = std::mem::take(&mut shared.waiting);
        let sent = waiting.len() as u64;
        shared.sent.extend(waiting);
        FlushReport { sent, dropped, pending: 0 }
    }

    async fn close(&self) -> Result<()> {
        let mut shared = self.lock();
        shared.closed = true;
        let waiting = std::mem::take(&mut shared.waiting);
        shared.dropped += waiting.len() as u64;
        Ok(())
    }
}
