//! Where data comes from.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{
    Result,
    document::{Delta, Document, Revision},
};

/// What a load brought.
///
/// Complete by definition: a load brings nothing new, a whole state, or a change.
///
/// # Examples
/// ```
/// use leverframe::traits::Load;
/// assert!(matches!(Load::Unchanged, Load::Unchanged));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "complete by definition")]
pub enum Load {
    /// The state is the one that the caller named.
    Unchanged,
    /// A whole state.
    Snapshot(Document),
    /// The change from the state that the caller named to the present one.
    Delta(Delta),
}

/// Brings documents from one place: a directory, a URL, a repository, a server.
///
/// A source is pulled. It spawns no task that outlives a call, and stores no document: the feed above it schedules,
/// retries, checks, keeps and swaps. `load` may block on files or sockets: callers on an async runtime run it on a
/// thread made for that.
///
/// Clauses:
/// - **S1** `load(None)` brings a whole state.
/// - **S2** `load(Some(r))` with the revision of the present state brings `Unchanged`.
/// - **S3** two loads of one state report the same revision and equal content.
/// - **S4** after a change, `load(Some(old))` brings a snapshot of the new state, or a delta whose base is `old`.
/// - **S5** a failed load is an error that names the place without its credentials; the next load starts afresh.
/// - **S6** `changed` is ready after a change that follows the last load, and pending for ever where the place
///   cannot tell; it may be ready without a change, never the other way round.
/// - **S7** dropping the future of `load` or `changed` at any point leaves the source usable.
/// - **S8** `close` may be called more than once; a load after it is an error of kind `Cancelled`.
/// - **S9** `name` is the word under which the source is registered and the same on every call.
///
/// # Examples
/// ```
/// use leverframe::{sources::file::{FileConfig, FileSource}, traits::{Load, Source}};
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::create_dir(dir.path().join("flags")).unwrap();
/// # std::fs::write(dir.path().join("flags/a.toml"), "").unwrap();
/// let source = FileSource::open(FileConfig::at(dir.path()));
/// let load = leverframe::live::block_on(source.load(None)).unwrap();
/// assert!(matches!(load, Load::Snapshot(_)));
/// ```
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Returns the registered name of the kind of source.
    fn name(&self) -> &'static str;

    /// Brings the present state, or `Unchanged` if its revision is `since`.
    ///
    /// # Errors
    /// Whatever keeps the place from being read; the error's retry state says whether trying again can help.
    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load>;

    /// Waits until the place says that it changed. Pending for ever where there is no push.
    ///
    /// # Errors
    /// When the notification broke; the caller falls back to polling and may call again.
    async fn changed(&self) -> Result<()>;

    /// Lets go of connections, files and watches.
    ///
    /// # Errors
    /// When something could not be let go in an orderly way; the source is closed all the same.
    async fn close(&self) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Source + ?Sized> Source for Arc<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        (**self).load(since).await
    }

    async fn changed(&self) -> Result<()> {
        (**self).changed().await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }
}
