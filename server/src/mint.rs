//! How tokens and keys are made.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use leverframe::{Error, ErrorKind, Result, Secret};

use crate::{
    app::secret_hash,
    model::{SecretHash, TokenType},
};

/// A new secret and what it is found by; only the latter is kept.
#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) secret: Secret,
    pub(crate) hash: SecretHash,
}

/// Makes a secret: the type's prefix and 32 random bytes.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub(crate) fn mint(kind: TokenType) -> Result<Minted> {
    of_random::<32>(kind.prefix())
}

/// Makes the secret of a gate key: `wsk_` and 64 random bytes.
///
/// Longer than the block of the HMAC that signs with it, which then uses its SHA-256 in its place: so what is kept is
/// enough to check signatures by, and not enough to pass for the key.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub(crate) fn mint_gate_secret() -> Result<Minted> {
    of_random::<64>("wsk_")
}

/// Makes what a gate key is named by: `wpk_` and 16 random bytes.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub(crate) fn mint_publish_key() -> Result<String> {
    of_random::<16>("wpk_").map(|minted| minted.secret.expose().to_owned())
}

fn of_random<const BYTES: usize>(prefix: &str) -> Result<Minted> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "read the operating system's randomness").source(error)
    })?;
    let secret = Secret::new(prefix.to_owned() + &URL_SAFE_NO_PAD.encode(random));
    Ok(Minted { hash: secret_hash(secret.expose()), secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_have_their_prefix_and_43_characters() {
        for kind in TokenType::ALL {
            let (a, b) = (mint(kind).unwrap(), mint(kind).unwrap());

            let rest = a.secret.expose().strip_prefix(kind.prefix()).unwrap();
            assert!(
                rest.len() == 43 && rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
            );
            assert_eq!(a.hash, secret_hash(a.secret.expose()));
            assert!(!a.secret.same_as(&b.secret) && a.hash != b.hash);
        }
    }

    #[test]
    fn the_secret_of_a_gate_key_is_longer_than_a_block_of_its_hmac() {
        let (minted, other) = (mint_gate_secret().unwrap(), mint_gate_secret().unwrap());
        let publish_key = mint_publish_key().unwrap();

        let secret = minted.secret.expose();
        assert!(
            secret.starts_with("wsk_") && secret.len() == 4 + 86 && secret.len() > 64,
            "{}",
            secret.len()
        );
        assert!(publish_key.starts_with("wpk_") && publish_key.len() == 4 + 22, "{publish_key}");
        assert!(minted.hash == secret_hash(secret) && minted.hash != other.hash);
        assert_ne!(publish_key, mint_publish_key().unwrap());
    }
}
