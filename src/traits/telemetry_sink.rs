//! Where records of evaluations go.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use crate::Result;

/// Why a value was given, in the words of telemetry (S13).
///
/// # Examples
/// ```
/// use leverframe::traits::EvaluationReason;
/// assert_eq!(EvaluationReason::MatchedRule.as_str(), "matched_rule");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvaluationReason {
    /// An attribute had another type than the manifest infers.
    AttrTypeMismatch,
    /// No rule matched.
    Default,
    /// A rule matched.
    MatchedRule,
    /// Evaluation failed; the caller's default was used.
    SdkDefault,
}

impl EvaluationReason {
    /// Returns the word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttrTypeMismatch => "attr_type_mismatch",
            Self::Default => "default",
            Self::MatchedRule => "matched_rule",
            Self::SdkDefault => "sdk_default",
        }
    }
}

/// One evaluation.
///
/// # Examples
/// ```
/// use leverframe::traits::{EvaluationReason, EvaluationRecord};
/// let record = EvaluationRecord::new("shop", "production", "banner", EvaluationReason::Default);
/// assert_eq!(&*record.flag_key, "banner");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EvaluationRecord {
    /// When.
    pub timestamp: SystemTime,
    /// The namespace's slug.
    pub namespace: Arc<str>,
    /// The environment.
    pub environment: Arc<str>,
    /// The flag.
    pub flag_key: Arc<str>,
    /// The variant given; empty where the caller's default was.
    pub variant_key: Arc<str>,
    /// Why.
    pub reason: EvaluationReason,
    /// The index of the rule that matched.
    pub rule: Option<usize>,
    /// The version of the manifest.
    pub manifest_version: u64,
    /// The entity's id, raw or hashed as the namespace says; `None` where no bucket asked for one.
    pub unit_id: Option<Arc<str>>,
}

impl EvaluationRecord {
    /// Makes a record with everything else at zero or empty.
    #[must_use]
    pub fn new(namespace: &str, environment: &str, flag_key: &str, reason: EvaluationReason) -> Self {
        Self {
            timestamp: SystemTime::UNIX_EPOCH,
            namespace: namespace.into(),
            environment: environment.into(),
            flag_key: flag_key.into(),
            variant_key: "".into(),
            reason,
            rule: None,
            manifest_version: 0,
            unit_id: None,
        }
    }
}

/// What a flush achieved.
///
/// # Examples
/// ```
/// use leverframe::traits::FlushReport;
/// assert!(FlushReport { sent: 3, dropped: 0, pending: 0 }.is_complete());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every record is sent, dropped or pending")]
#[must_use = "a report with `dropped` or `pending` above zero means records that nobody has"]
pub struct FlushReport {
    /// Records handed over since the last report.
    pub sent: u64,
    /// Records given up since the last report.
    pub dropped: u64,
    /// Records still waiting when the deadline passed.
    pub pending: u64,
}

impl FlushReport {
    /// Returns true if nothing was dropped and nothing waits.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.dropped == 0 && self.pending == 0
    }
}

/// Takes records of evaluations.
///
/// Clauses:
/// - **E1** `record` returns at once: it does no I/O, takes no contended lock for long, and never fails or panics.
/// - **E2** what is recorded is sent unaltered, or counted as dropped.
/// - **E3** `flush` reports every record since the last report exactly once: sent, dropped or pending.
/// - **E4** `flush` returns by its deadline.
/// - **E5** a broken downstream shows in reports, nowhere else.
/// - **E6** `close` may be called more than once; records after it are dropped and counted.
/// - **E7** `name` is the word under which the sink is registered and the same on every call.
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
#[async_trait]
pub trait TelemetrySink: fmt::Debug + Send + Sync + 'static {
    /// Returns the registered name of the kind of sink.
    fn name(&self) -> &'static str;

    /// Takes a record.
    fn record(&self, record: &EvaluationRecord);

    /// Hands over what waits, for at most `deadline`.
    async fn flush(&self, deadline: Duration) -> FlushReport;

    /// Lets go of connections and files; what still waits is dropped and counted.
    ///
    /// # Errors
    /// When something could not be let go in an orderly way; the sink is closed all the same.
    async fn close(&self) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: TelemetrySink + ?Sized> TelemetrySink for Arc<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn record(&self, record: &EvaluationRecord) {
        (**self).record(record);
    }

    async fn flush(&self, deadline: Duration) -> FlushReport {
        (**self).flush(deadline).await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
