//! How tokens, gate keys and settings keys are made.

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
    minted::<32>(kind.prefix())
}

/// What publish keys begin with.
pub(crate) const PUBLISH_KEY: &str = "wpk_";
/// What secret keys begin with.
const SECRET_KEY: &str = "wsk_";

/// Makes a pair of gate keys: the publish key and its secret.
///
/// The secret is longer than a block of SHA-256, so that HMAC takes its digest for the key: what is kept of it verifies
/// signatures, and does not ask for tokens.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub(crate) fn mint_gate_key() -> Result<(String, Minted)> {
    Ok((PUBLISH_KEY.to_owned() + &random::<16>()?, minted::<64>(SECRET_KEY)?))
}

/// Makes a key of settings: what it begins with says which it is, to people and to clients.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub(crate) fn mint_settings_key(public: bool, legacy: bool) -> Result<Minted> {
    minted::<32>(match (public, legacy) {
        (false, false) => "wxs_",
        (true, false) => "wxp_",
        // What clients before 0.15 tell the two apart by.
        (false, true) => "sk_live_",
        (true, true) => "pk_live_",
    })
}

fn minted<const BYTES: usize>(prefix: &str) -> Result<Minted> {
    let secret = Secret::new(prefix.to_owned() + &random::<BYTES>()?);
    Ok(Minted { hash: secret_hash(secret.expose()), secret })
}

fn random<const BYTES: usize>() -> Result<String> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "read the operating system's randomness").source(error)
    })?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

#[cfg(test)]
mod tests {
    use leverframe::gate::signing::{sign_pulse, verify_pulse};

    use super::*;

    #[test]
    fn of_a_gate_key_the_digest_verifies_what_the_secret_signs() {
        let (publish_key, minted) = mint_gate_key().unwrap();
        let secret = minted.secret.expose();

        assert!(publish_key.starts_with("wpk_") && publish_key.len() == 26);
        assert!(secret.starts_with("wsk_") && secret.len() == 90);
        assert!(verify_pulse("{}", "1", minted.hash, &sign_pulse("{}", "1", secret)));
        assert_ne!(mint_gate_key().unwrap().0, publish_key);
    }

    #[test]
    fn a_settings_key_says_which_it_is() {
        for (public, legacy, prefix) in [
            (false, false, "wxs_"),
            (true, false, "wxp_"),
            (false, true, "sk_live_"),
            (true, true, "pk_live_"),
        ] {
            let minted = mint_settings_key(public, legacy).unwrap();

            assert_eq!(minted.secret.expose().strip_prefix(prefix).unwrap().len(), 43);
            assert_eq!(minted.hash, secret_hash(minted.secret.expose()));
        }
    }

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
}
