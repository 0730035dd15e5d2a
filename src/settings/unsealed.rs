//! What stands in for sealing in builds without cryptography: nothing can be kept.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::NexusError;
use crate::{Error, ErrorKind, Result, Secret};

/// Cannot be made.
#[derive(Debug)]
pub(super) enum Seal {}

impl Seal {
    pub(super) fn new(_key: &Secret, _place: &str) -> Result<Self, NexusError> {
        Err(NexusError::Config(
            "`cache_key` needs the cargo feature `signed`, which this build lacks".to_owned(),
        ))
    }

    pub(super) fn is_on(_content: &[u8]) -> bool {
        false
    }

    pub(super) fn close(&self, _content: &[u8]) -> Result<Bytes> {
        Err(Error::new(ErrorKind::Unsupported, "seal what is kept of settings"))
    }

    pub(super) fn open(&self, _sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NexusError> {
        Err(NexusError::Forbidden)
    }
}
