//! Tokens to ask for policies with: nothing is kept of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::events::{Purpose, Signer};

/// How long a token is good for.
pub(crate) const VALID_FOR: Duration = Duration::from_secs(3_600);
/// What tokens begin with.
const PREFIX: &str = "wst_";
/// More than the longest one has.
const LONGEST: usize = 600;

/// What a token says of whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) org: String,
    /// The one site that its key is bound to.
    pub(crate) site: Option<String>,
    pub(crate) publish_key: String,
    pub(crate) expires_at_ms: u64,
    /// Tells this token from others of the same key.
    pub(crate) id: String,
}

impl Claims {
    /// Writes the token.
    pub(crate) fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&text), signer.seal(Purpose::GateToken, &text))
    }

    /// Reads a token; `None` unless it is one of ours and its time is not over.
    pub(crate) fn read(token: &str, signer: &Signer, now: SystemTime) -> Option<Self> {
        let (text, seal) = token.strip_prefix(PREFIX).filter(|_| token.len() <= LONGEST)?.split_once('.')?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        // Nothing is read of what nobody signed.
        if !signer.is_sealed(Purpose::GateToken, &text, seal) {
            return None;
        }
        let mut parts = text.split('/').map(str::to_owned);
        let claims = Self {
            org: parts.next()?,
            site: parts.next().map(|site| (!site.is_empty()).then_some(site))?,
            publish_key: parts.next()?,
            expires_at_ms: parts.next()?.parse().ok()?,
            id: parts.next()?,
        };
        (millis(now) < claims.expires_at_ms && parts.next().is_none()).then_some(claims)
    }

    /// None of the parts may hold a slash: names are checked before a key is made for them.
    fn text(&self) -> String {
        let site = self.site.as_deref().unwrap_or_default();
        format!("{}/{site}/{}/{}/{}", self.org, self.publish_key, self.expires_at_ms, self.id)
    }
}

/// Returns the milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::SigningKey;

    fn claims(site: Option<&str>) -> Claims {
        Claims {
            org: "acme".to_owned(),
            site: site.map(str::to_owned),
            publish_key: "wpk_1".to_owned(),
            expires_at_ms: 2_000,
            id: "x".to_owned(),
        }
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn a_token_says_what_was_signed_until_its_time_is_over() {
        let signer = Signer::new(SigningKey::new([1; 32]));
        for site in [None, Some("eu")] {
            let claims = claims(site);
            let token = claims.sign(&signer);

            assert_eq!(Claims::read(&token, &signer, at(1_999)), Some(claims));
            assert_eq!(Claims::read(&token, &signer, at(2_000)), None);
            assert_eq!(Claims::read(&token, &Signer::new(SigningKey::new([2; 32])), at(0)), None);
        }
    }

    #[test]
    fn what_nobody_signed_is_no_token() {
        let signer = Signer::new(SigningKey::new([1; 32]));
        let token = claims(None).sign(&signer);
        let (text, seal) = token.split_once('.').unwrap();
        let longer = URL_SAFE_NO_PAD.encode("acme//wpk_1/9000/x");

        for forged in [
            "",
            "wst_",
            "wst_.",
            text,
            &format!("{text}."),
            &format!("wst_{longer}.{seal}"),
            &token.replacen("wst_", "wsT_", 1),
            &format!("{token}{}", "A".repeat(600)),
        ] {
            assert_eq!(Claims::read(forged, &signer, at(0)), None, "{forged}");
        }
    }
}
