//! Settings as a product of the feed.

use bytes::Bytes;

use super::{NexusError, decode, sealed::Seal, snapshot::Snapshot, told};
use crate::{
    Error, ErrorKind, Result,
    document::{Content, Delta, Document},
    live::Product,
};

/// How answers become snapshots, and how they are kept.
#[derive(Debug)]
pub(super) struct SettingsProduct {
    /// What is kept is sealed with this; without it nothing is kept.
    pub(super) seal: Option<Seal>,
}

impl Product for SettingsProduct {
    type Snapshot = Snapshot;
    type Error = NexusError;
    const NAME: &'static str = "settings";

    fn build(&self, document: Document, previous: Option<&Snapshot>) -> Result<Snapshot, NexusError> {
        let Content::Bytes(content) = document.content() else {
            return Err(NexusError::SyncFailed("the answer is made of files".to_owned()));
        };
        // Only a start reads what was kept: a service has nothing to gain by sending what an older state was sealed as.
        match &self.seal {
            Some(seal) if previous.is_none() && Seal::is_on(content) => {
                decode::snapshot(&seal.open(content)?)
            }
            _ => decode::snapshot(content),
        }
    }

    fn apply(&self, delta: &Delta, served: &Snapshot) -> Option<Result<Snapshot, NexusError>> {
        // What is kept is what was answered: a state of our own making would not be.
        self.seal.is_none().then(|| told::apply(delta, served))
    }

    fn kind(error: &NexusError) -> ErrorKind {
        error.kind()
    }

    fn to_bytes(&self, document: &Document) -> Result<Bytes> {
        match (&self.seal, document.content()) {
            (Some(seal), Content::Bytes(content)) => seal.close(content),
            _ => Err(Error::new(ErrorKind::Unsupported, "keep settings in clear")),
        }
    }
}
