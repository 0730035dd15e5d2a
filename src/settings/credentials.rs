//! Who the client says it is.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::{NexusError, model::KeyType};
use crate::Secret;

/// Gives each request the header that says who asks.
#[async_trait]
pub(crate) trait Credentials: fmt::Debug + Send + Sync + 'static {
    /// Returns the header for a request that is about to be sent; its value is marked sensitive.
    ///
    /// # Errors
    /// When there is nothing to prove an identity by: the request is not sent then.
    async fn header(&self) -> Result<(HeaderName, HeaderValue), NexusError>;

    /// Learns that the service answered 401 to what was `sent`, and returns true where another credential was had, so that
    /// the request is worth sending once more.
    ///
    /// # Errors
    /// When another credential was asked for and not given.
    async fn refused(&self, _sent: &HeaderValue) -> Result<bool, NexusError> {
        Ok(false)
    }

    /// Learns that an answer is waited for that should not wait for a pause after failures: somebody calls for it, or the
    /// pauses are kept by who asks.
    fn called_for(&self) {}

    /// Learns from the event stream that the session ends soon.
    fn expiring(&self) {}

    /// Returns what is known of the key before the service has said anything.
    fn key_type(&self) -> Option<KeyType> {
        None
    }
}

/// A key that stays as it is.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    header: HeaderValue,
    key_type: KeyType,
}

impl ApiKey {
    /// Takes a key.
    ///
    /// # Errors
    /// `Config` for one that no header can carry.
    pub(crate) fn new(key: &Secret) -> Result<Self, NexusError> {
        let header = wiped_header("", key).ok_or_else(|| {
            NexusError::Config(
                "`api_key` has a character that no header carries, such as a line break".to_owned(),
            )
        })?;
        Ok(Self { header, key_type: KeyType::of_key(key.expose()) })
    }
}

#[async_trait]
impl Credentials for ApiKey {
    async fn header(&self) -> Result<(HeaderName, HeaderValue), NexusError> {
        Ok((HeaderName::from_static("x-nexus-api-key"), self.header.clone()))
    }

    fn key_type(&self) -> Option<KeyType> {
        Some(self.key_type)
    }
}

/// Makes a header of a secret; `None` for what no header can carry. Clones share the memory, which is wiped with the last.
pub(super) fn wiped_header(scheme: &str, secret: &Secret) -> Option<HeaderValue> {
    let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.expose().len()));
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(secret.expose().as_bytes());
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_nowhere_and_a_broken_one_is_refused_unseen() {
        let key = ApiKey::new(&Secret::new("wxs_canary")).unwrap();
        let refused = ApiKey::new(&Secret::new("wxs_canary\n")).unwrap_err();

        assert!(!format!("{key:?} {refused:?} {refused}").contains("canary"));
    }

    #[test]
    fn both_generations_of_public_keys_are_known_by_their_beginning() {
        for (key, key_type) in [
            ("pk_live_1", KeyType::Public),
            ("wxp_1", KeyType::Public),
            ("sk_live_1", KeyType::Secret),
            ("wxs_1", KeyType::Secret),
            ("wxm_1", KeyType::Secret),
            ("", KeyType::Secret),
        ] {
            assert_eq!(ApiKey::new(&Secret::new(key)).unwrap().key_type(), Some(key_type), "{key}");
        }
    }
}
