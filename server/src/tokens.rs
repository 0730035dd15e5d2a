//! The live tokens at hand, so that a request costs no look into the database.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use leverframe::traits::Tick;

use crate::{
    limit::Bucket,
    model::{SecretHash, TokenRecord},
};

/// As many tokens as are kept at hand.
const MOST: usize = 10_000;
/// How long a token is believed without asking again: a backstop, since a revocation is told at once.
const BELIEVED: Duration = Duration::from_secs(30);
/// How long a token is believed while the store cannot be asked.
const BELIEVED_WITHOUT_STORE: Duration = Duration::from_secs(600);

/// A token that was found in the store.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) token: Arc<TokenRecord>,
    pub(crate) bucket: Arc<Bucket>,
    read_at: Tick,
}

impl Cached {
    /// Returns true while the store need not be asked.
    pub(crate) fn is_fresh(&self, now: Tick) -> bool {
        now - self.read_at < BELIEVED
    }

    /// Returns true while the token may be used although the store fails.
    pub(crate) fn outlasts_the_store(&self, now: Tick) -> bool {
        now - self.read_at < BELIEVED_WITHOUT_STORE
    }
}

/// Keeps tokens by the digest of their secrets.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts what was forgotten, so that nothing read before is put in after.
    generation: u64,
    by_secret: HashMap<SecretHash, Arc<Cached>>,
}

impl TokenCache {
    pub(crate) fn get(&self, secret: &SecretHash) -> Option<Arc<Cached>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).by_secret.get(secret).map(Arc::clone)
    }

    /// Returns the generation to [`put`](Self::put) with what is read from the store from now on.
    pub(crate) fn generation(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Keeps a token, unless something was revoked while it was being read.
    pub(crate) fn put(
        &self,
        secret: SecretHash,
        token: Arc<TokenRecord>,
        now: Tick,
        generation: u64,
    ) -> Arc<Cached> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = state.by_secret.get(&secret).map(|held| Arc::clone(&held.bucket)).unwrap_or_default();
        let cached = Arc::new(Cached { token, bucket, read_at: now });
        if state.generation == generation {
            if state.by_secret.len() >= MOST {
                // Which one goes does not matter much: it is read again when it is next used.
                let any = state.by_secret.keys().next().copied();
                any.and_then(|secret| state.by_secret.remove(&secret));
            }
            state.by_secret.insert(secret, Arc::clone(&cached));
        }
        cached
    }

    /// Forgets a secret that no longer stands for a token.
    pub(crate) fn forget_secret(&self, secret: &SecretHash) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.by_secret.remove(secret);
    }

    /// Forgets a token that was revoked.
    pub(crate) fn forget(&self, id: &str) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.generation += 1;
        state.by_secret.retain(|_, cached| cached.token.id != id);
    }

    /// Forgets everything.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.generation += 1;
        state.by_secret.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::TokenType;

    fn token(id: &str) -> Arc<TokenRecord> {
        Arc::new(TokenRecord {
            id: id.into(),
            kind: TokenType::Superadmin,
            tenant: None,
            namespace: None,
            environment: None,
            name: String::new(),
            allowed_origins: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
            created_by: String::new(),
            expires_at: None,
            revoked_at: None,
        })
    }

    #[test]
    fn a_token_read_before_its_revocation_is_not_kept_after_it() {
        let cache = TokenCache::default();

        let generation = cache.generation();
        cache.forget("tok_1");
        cache.put([1; 32], token("tok_1"), Tick::ORIGIN, generation);

        assert!(cache.get(&[1; 32]).is_none());
    }

    #[test]
    fn a_revoked_token_goes_and_the_others_stay() {
        let cache = TokenCache::default();
        cache.put([1; 32], token("tok_1"), Tick::ORIGIN, 0);
        cache.put([2; 32], token("tok_2"), Tick::ORIGIN, 0);

        cache.forget("tok_1");

        assert!(cache.get(&[1; 32]).is_none() && cache.get(&[2; 32]).is_some());
    }

    #[test]
    fn only_so_many_tokens_are_kept() {
        let cache = TokenCache::default();

        for number in 0..MOST as u64 + 5 {
            let mut secret = [0; 32];
            secret[..8].copy_from_slice(&number.to_be_bytes());
            cache.put(secret, token("tok_x"), Tick::ORIGIN, 0);
        }

        assert_eq!(cache.state.read().unwrap().by_secret.len(), MOST);
    }

    #[test]
    fn reading_a_token_again_does_not_refill_its_bucket() {
        let cache = TokenCache::default();
        let first = cache.put([1; 32], token("tok_1"), Tick::ORIGIN, 0);

        let second = cache.put([1; 32], token("tok_1"), Tick::ORIGIN + BELIEVED, 0);

        assert!(Arc::ptr_eq(&first.bucket, &second.bucket) && !first.is_fresh(Tick::ORIGIN + BELIEVED));
    }
}
