//! What a feed falls back on, step by step, when its source fails: last known good, then what was compiled in.

use std::time::{Duration, SystemTime};

use super::{
    feed::whole,
    keep::{Keep, Kept},
    product::Product,
    status::{Origin, StalePolicy},
};
use crate::{
    ErrorKind,
    document::{Content, Delta, Document, Entry, Revision},
    error::chain,
    traits::{Clock, Load, Source},
};

/// What a feed falls back on when its source fails.
///
/// The steps, of which the first that bears is taken: a kept document that is still fresh, without asking the source;
/// the source; the kept generations, newest first; the baseline. A document that does not pass the product's checks
/// does not bear, wherever it comes from.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use leverframe::live::{Keep, Ladder, StalePolicy};
/// let ladder = Ladder::new()
///     .with_keep(Keep::in_file("/var/cache/app/payments.tar.gz"))
///     .with_stale_policy(StalePolicy::Fail, Duration::from_secs(86_400));
/// assert_eq!(ladder.policy(), StalePolicy::Fail);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is handed to a feed"]
pub struct Ladder {
    keep: Option<Keep>,
    mirror: Option<Mirror>,
    baseline: Option<Document>,
    policy: StalePolicy,
    oldest: Duration,
}

/// What the source itself has kept of the document, with the time it was last confirmed.
#[derive(Clone, Debug)]
struct Mirror {
    document: Document,
    confirmed_at: SystemTime,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            keep: None,
            mirror: None,
            baseline: None,
            policy: StalePolicy::default(),
            oldest: Duration::from_secs(86_400),
        }
    }
}

impl Ladder {
    /// Makes a ladder of one step, the source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what the source brings, for when it fails.
    pub fn with_keep(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Adds what the source itself has kept, which goes before what is kept for it; at a start the source is asked for
    /// news since then.
    pub(crate) fn with_mirror(mut self, document: Document, confirmed_at: SystemTime) -> Self {
        self.mirror = Some(Mirror { document, confirmed_at });
        self
    }

    /// Adds the document to serve when there is nothing else.
    pub fn with_baseline(mut self, document: Document) -> Self {
        self.baseline = Some(document);
        self
    }

    /// Sets what to do about a state that the source has not confirmed for longer than `oldest`. Default: warn after
    /// a day.
    pub fn with_stale_policy(mut self, policy: StalePolicy, oldest: Duration) -> Self {
        self.policy = policy;
        self.oldest = oldest;
        self
    }

    /// Returns what to do about an old state.
    #[must_use]
    pub fn policy(&self) -> StalePolicy {
        self.policy
    }

    pub(super) fn keep(&self) -> Option<&Keep> {
        self.keep.as_ref()
    }

    pub(super) fn is_too_old(&self, age: Duration) -> bool {
        age > self.oldest
    }

    /// Finds the first state to serve.
    pub(super) async fn start<P: Product>(
        &self,
        product: &P,
        source: &dyn Source,
        clock: &dyn Clock,
    ) -> Result<Start<P::Snapshot>, P::Error> {
        let kept = match &self.keep {
            Some(keep) => keep.all().await,
            None => Vec::new(),
        };
        for kept in &kept {
            product.remember(if kept.mark > 0 { kept.mark } else { product.mark_of(&kept.document()) });
        }
        let now = clock.wall();
        if let (Some(keep), Some(newest)) = (&self.keep, kept.first())
            && keep.is_fresh(newest, now)
            && let Some(start) = self.start_from_kept(product, newest, now).await
        {
            return Ok(start);
        }
        let failure = match self.start_from_source(product, source, kept.first(), now).await {
            Ok(start) => return Ok(start),
            Err(failure) => failure,
        };
        let mut start = self.start_from_mirror(product, now).filter(|start| self.may_start_at(start.age));
        if start.is_none() {
            start = self.start_from_generations(product, &kept, now).await;
        }
        let start = start.or_else(|| self.start_from_baseline(product));
        let Failed { error, refused } = failure;
        let Some(mut start) = start else { return Err(error) };
        tracing::warn!(
            product = P::NAME,
            source = source.name(),
            error = %chain(&error),
            serving = start.origin.as_str(),
            "the source failed at the start, serving what is left"
        );
        start.failure = Some((chain(&error), P::kind(&error)));
        start.asked_to_wait = P::retry_after(&error).unwrap_or_default();
        start.quarantined = refused;
        Ok(start)
    }

    async fn start_from_source<P: Product>(
        &self,
        product: &P,
        source: &dyn Source,
        newest: Option<&Kept>,
        now: SystemTime,
    ) -> Result<Start<P::Snapshot>, Failed<P::Error>> {
        let failed = |error| Failed { error: product.not_loaded(source, error), refused: None };
        let mirrored = self.mirror.as_ref().map(|mirror| mirror.document.revision());
        let since = mirrored.or(newest.and_then(|kept| kept.revision.as_ref()));
        let document = match source.load(since).await.map_err(failed)? {
            Load::Unchanged => {
                if let Some(start) = self.start_from_mirror(product, now) {
                    return Ok(start.confirmed());
                }
                if let Some(newest) = newest
                    && let Some(start) = self.start_from_kept(product, newest, now).await
                {
                    return Ok(start.confirmed());
                }
                // What is kept cannot be used after all, so the whole is needed.
                whole(source).await.map_err(failed)?
            }
            Load::Snapshot(document) => document,
            Load::Delta(_) => whole(source).await.map_err(failed)?,
        };
        let news = self.build(product, document, None, now)?;
        let mut kept_at = None;
        if let (Some(keep), Some(kept)) = (&self.keep, &news.kept) {
            match keep.put(kept).await {
                Ok(()) => kept_at = Some(now),
                Err(error) => tracing::warn!(
                    product = P::NAME,
                    error = %error.chain(),
                    "last known good was not kept; what is served is not affected"
                ),
            }
        }
        let mut start = Start::of(news.snapshot, Origin::Source).confirmed();
        start.revision = Some(news.revision);
        start.bytes = news.bytes;
        start.kept_at = kept_at;
        Ok(start)
    }

    fn start_from_mirror<P: Product>(&self, product: &P, now: SystemTime) -> Option<Start<P::Snapshot>> {
        let Mirror { document, confirmed_at } = self.mirror.as_ref()?;
        match product.build(document.clone(), None) {
            Ok(snapshot) => {
                let mut start = Start::of(snapshot, Origin::Kept);
                start.revision = Some(document.revision().clone());
                start.bytes = size(document.content());
                start.age = now.duration_since(*confirmed_at).unwrap_or_default();
                Some(start)
            }
            Err(error) => {
                tracing::warn!(product = P::NAME, error = %chain(&error), "what the source kept does not pass the checks");
                None
            }
        }
    }

    fn may_start_at(&self, age: Duration) -> bool {
        self.policy != StalePolicy::Fail || !self.is_too_old(age)
    }

    async fn start_from_generations<P: Product>(
        &self,
        product: &P,
        kept: &[Kept],
        now: SystemTime,
    ) -> Option<Start<P::Snapshot>> {
        for kept in kept {
            if !self.may_start_at(kept.age(now)) {
                tracing::warn!(
                    product = P::NAME,
                    age_seconds = kept.age(now).as_secs(),
                    "a kept document is older than allowed and is not served"
                );
                continue;
            }
            if let Some(start) = self.start_from_kept(product, kept, now).await {
                return Some(start);
            }
        }
        None
    }

    async fn start_from_kept<P: Product>(
        &self,
        product: &P,
        kept: &Kept,
        now: SystemTime,
    ) -> Option<Start<P::Snapshot>> {
        match product.build(kept.document(), None) {
            Ok(snapshot) => {
                let mut start = Start::of(snapshot, Origin::Kept);
                start.revision.clone_from(&kept.revision);
                start.bytes = kept.content.len() as u64;
                start.age = kept.age(now);
                start.kept_at = Some(kept.kept_at);
                Some(start)
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(product = P::NAME, error = reason, "a kept document does not pass the checks");
                // What is not vouched for now may be again, with another key or once the clock is right.
                if P::kind(&error) != ErrorKind::PermissionDenied
                    && let Some(keep) = &self.keep
                    && let Err(error) = keep.quarantine(kept, &reason).await
                {
                    tracing::warn!(product = P::NAME, error = %error.chain(), "it could not be quarantined");
                }
                None
            }
        }
    }

    fn start_from_baseline<P: Product>(&self, product: &P) -> Option<Start<P::Snapshot>> {
        match product.build(self.baseline.clone()?, None) {
            Ok(snapshot) => Some(Start::of(snapshot, Origin::Baseline)),
            Err(error) => {
                tracing::error!(product = P::NAME, error = %chain(&error), "the baseline does not pass the checks");
                None
            }
        }
    }

    /// Builds a snapshot, and what is to be kept of its document.
    pub(super) fn build<P: Product>(
        &self,
        product: &P,
        document: Document,
        served: Option<&P::Snapshot>,
        now: SystemTime,
    ) -> Result<News<P::Snapshot>, Failed<P::Error>> {
        let revision = document.revision().clone();
        let bytes = size(document.content());
        let kept = self.kept(product, &document, now);
        let snapshot = product
            .build(document, served)
            .map_err(|error| Failed { error, refused: Some(revision.clone()) })?;
        let kept = kept.map(|kept| Kept { mark: product.mark(&snapshot), ..kept });
        Ok(News { snapshot, revision, bytes, kept })
    }

    /// Builds a snapshot from the one being served and a change; `None` where the whole is needed.
    pub(super) fn apply<P: Product>(
        &self,
        product: &P,
        delta: &Delta,
        served: &P::Snapshot,
        now: SystemTime,
    ) -> Option<News<P::Snapshot>> {
        let snapshot = match product.apply(delta, served)? {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(product = P::NAME, error, "a change was refused, loading the whole");
                return None;
            }
        };
        let revision = delta.revision().clone();
        // Only what is kept is packed again, because packing costs more than all the rest.
        let whole = self.keep.as_ref().and_then(|_| product.document_of(&snapshot, &revision));
        let kept = whole.and_then(|document| self.kept(product, &document, now));
        let kept = kept.map(|kept| Kept { mark: product.mark(&snapshot), ..kept });
        let bytes = delta.changed().values().map(|content| content.len() as u64).sum();
        Some(News { snapshot, revision, bytes, kept })
    }

    fn kept<P: Product>(&self, product: &P, document: &Document, now: SystemTime) -> Option<Kept> {
        self.keep.as_ref()?;
        match product.to_bytes(document) {
            Ok(content) => Some(Kept {
                content,
                name: document.name().map(str::to_owned),
                signature: document.signature().cloned(),
                revision: Some(document.revision().clone()),
                mark: 0,
                kept_at: now,
            }),
            Err(error) => {
                tracing::warn!(product = P::NAME, error = %error.chain(), "this document cannot be kept");
                None
            }
        }
    }
}

/// A document that has become a snapshot.
pub(super) struct News<S> {
    pub(super) snapshot: S,
    pub(super) revision: Revision,
    pub(super) bytes: u64,
    pub(super) kept: Option<Kept>,
}

/// Why a source brought nothing to serve.
pub(super) struct Failed<E> {
    pub(super) error: E,
    /// The document that did not pass the checks, if it came so far.
    pub(super) refused: Option<Revision>,
}

/// The state that a feed begins with.
pub(super) struct Start<S> {
    pub(super) snapshot: S,
    pub(super) origin: Origin,
    pub(super) revision: Option<Revision>,
    pub(super) bytes: u64,
    /// Whether the source said that this is current.
    pub(super) confirmed: bool,
    /// How long ago it last did, so far as is known.
    pub(super) age: Duration,
    pub(super) kept_at: Option<SystemTime>,
    pub(super) failure: Option<(String, ErrorKind)>,
    /// For how long the source asked to be left alone.
    pub(super) asked_to_wait: Duration,
    pub(super) quarantined: Option<Revision>,
}

impl<S> Start<S> {
    pub(super) fn of(snapshot: S, origin: Origin) -> Self {
        Self {
            snapshot,
            origin,
            revision: None,
            bytes: 0,
            confirmed: false,
            age: Duration::ZERO,
            kept_at: None,
            failure: None,
            asked_to_wait: Duration::ZERO,
            quarantined: None,
        }
    }

    fn confirmed(mut self) -> Self {
        self.confirmed = true;
        self.age = Duration::ZERO;
        self
    }
}

fn size(content: &Content) -> u64 {
    match content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Tree(tree) => tree
            .iter()
            .map(|(_, entry)| match entry {
                Entry::File(content) => content.len() as u64,
                _ => 0,
            })
            .sum(),
    }
}
