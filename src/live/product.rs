//! What a feed serves.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;

use crate::{
    Error, ErrorKind, Result,
    document::{Content, Delta, Document, Revision},
    traits::Source,
};

/// How documents become snapshots.
///
/// Implemented by flags (here), settings and gate. `build` is pure work: no I/O, no waiting.
pub trait Product: fmt::Debug + Send + Sync + 'static {
    /// What is served: checked, compiled, immutable.
    type Snapshot: fmt::Debug + Send + Sync + 'static;
    /// Why a document is refused, or could not be had.
    type Error: StdError + From<Error> + Send + Sync + 'static;
    /// The word for log lines.
    const NAME: &'static str;

    /// Checks and compiles a document. `previous` is what is being served, for rules about succession.
    ///
    /// # Errors
    /// When the document is refused; what is served stays.
    fn build(
        &self,
        document: Document,
        previous: Option<&Self::Snapshot>,
    ) -> Result<Self::Snapshot, Self::Error>;

    /// Makes the next snapshot from the one being served and a change to its document; `None` where this product, or
    /// this snapshot, cannot. The feed then loads the whole, as it does when the change is refused.
    fn apply(&self, delta: &Delta, served: &Self::Snapshot) -> Option<Result<Self::Snapshot, Self::Error>> {
        let _ = (delta, served);
        None
    }

    /// Gives the document of a snapshot that `apply` made, to be kept.
    fn document_of(&self, snapshot: &Self::Snapshot, revision: &Revision) -> Option<Document> {
        let _ = (snapshot, revision);
        None
    }

    /// Classifies an error, for figures.
    fn kind(error: &Self::Error) -> ErrorKind;

    /// Returns how long the other side asked to be left alone.
    fn retry_after(error: &Self::Error) -> Option<Duration> {
        let _ = error;
        None
    }

    /// Says what it means that a source could not be loaded from.
    fn not_loaded(&self, source: &dyn Source, error: Error) -> Self::Error {
        let _ = source;
        error.into()
    }

    /// Writes a document as bytes that `build` accepts again, to be kept.
    ///
    /// # Errors
    /// `Unsupported` where the product's documents cannot be kept.
    fn to_bytes(&self, document: &Document) -> Result<Bytes> {
        match document.content() {
            Content::Bytes(bytes) => Ok(bytes.clone()),
            Content::Tree(_) => Err(Error::new(ErrorKind::Unsupported, "keep a document made of files")),
        }
    }

    /// Returns the place of a snapshot in its succession, to be remembered beyond the life of the process; 0 where
    /// there is none.
    fn mark(&self, snapshot: &Self::Snapshot) -> u64 {
        let _ = snapshot;
        0
    }

    /// Returns the mark of a kept document whose mark was not kept with it; 0 where it has none, or is not believed.
    fn mark_of(&self, document: &Document) -> u64 {
        let _ = document;
        0
    }

    /// Learns the highest mark that was served before this process began.
    fn remember(&self, mark: u64) {
        let _ = mark;
    }

    /// Returns true if the source may be asked for changes since the document of this snapshot; else it is asked
    /// for the whole at every poll.
    fn may_ask_since(&self, snapshot: &Self::Snapshot) -> bool {
        let _ = snapshot;
        true
    }

    /// Returns true if a poll that brought `new` need not replace `served`.
    fn is_same(&self, served: &Self::Snapshot, new: &Self::Snapshot) -> bool {
        let _ = (served, new);
        false
    }
}
