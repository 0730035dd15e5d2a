//! Tokens that the platform keeps current in a file.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{CredentialSource, surroundings::token_in};
use crate::{Result, Secret};

/// Reads the file at each exchange: the platform replaces it before the token ends.
#[derive(Debug)]
pub(super) struct TokenFile {
    pub(super) path: PathBuf,
    pub(super) provider: &'static str,
}

#[async_trait]
impl CredentialSource for TokenFile {
    async fn token(&self) -> Result<Secret> {
        token_in(&self.path)
    }

    fn provider(&self) -> &str {
        self.provider
    }
}
