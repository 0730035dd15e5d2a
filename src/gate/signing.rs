//! How a report proves who sent it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::encoding::hex;

/// Signs a body at a time: the lower-case hex HMAC-SHA256 over the body, a dot and the time.
///
/// # Examples
/// ```
/// let signature = leverframe::gate::signing::sign_pulse(b"hello world", "1234", "key");
/// assert_eq!(signature, "b24ca2d186618df3747e80922eed685a952f2236fed33b43392471be22e08497");
/// ```
#[must_use]
pub fn sign_pulse(body: impl AsRef<[u8]>, timestamp: &str, secret: &str) -> String {
    hex(&mac(body.as_ref(), timestamp, secret.as_bytes()).finalize().into_bytes())
}

/// Returns true if the signature is that of the body at the time, in time that does not depend on where it differs.
///
/// A secret of more than 64 bytes may be given as its SHA-256 instead: HMAC takes that for its key then.
///
/// # Examples
/// ```
/// use leverframe::gate::signing::{sign_pulse, verify_pulse};
/// let signature = sign_pulse("{}", "1234", "key");
/// assert!(verify_pulse("{}", "1234", "key", &signature));
/// assert!(!verify_pulse("{}", "1235", "key", &signature));
/// ```
#[must_use]
pub fn verify_pulse(
    body: impl AsRef<[u8]>,
    timestamp: &str,
    secret: impl AsRef<[u8]>,
    signature: &str,
) -> bool {
    let mut expected = [0_u8; 32];
    if signature.len() != 64 {
        return false;
    }
    for (byte, pair) in expected.iter_mut().zip(signature.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| pair.get(at).and_then(|c| (*c as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return false };
        *byte = (high << 4 | low) as u8;
    }
    mac(body.as_ref(), timestamp, secret.as_ref()).verify_slice(&expected).is_ok()
}

fn mac(body: &[u8], timestamp: &str, secret: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use sha2::Digest;

    use super::*;

    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let pulse = r#"{"instanceId":"test","usageDelta":10,"bouncedUnits":0,"metrics":{"latency":0,"errors":0},"tagMetrics":[],"ts":1700000000000}"#;
        for (key, timestamp, body, signature) in [
            (
                "key",
                "1234",
                "hello world",
                "b24ca2d186618df3747e80922eed685a952f2236fed33b43392471be22e08497",
            ),
            ("key", "1234567890", "", "b6d969feaaaca5e50873201e289977203032e6d9efdd758529bbc0e86be9b3d7"),
            (
                "my-secret",
                "1677000000000",
                r#"{"test":true}"#,
                "d721dd62ac9a2152c2ae709a7c58d5e79ffe4bf6b865a6368e85d521328f56bf",
            ),
            (
                "sk_test_secret_key_12345",
                "1700000000000",
                pulse,
                "67f619b7a5c8fe7307ff1aa39e6adc33e7b10719e7da89db61d1fcc31cf67f3c",
            ),
        ] {
            assert_eq!(sign_pulse(body, timestamp, key), signature);
            assert!(verify_pulse(body, timestamp, key, signature));
            assert!(!verify_pulse(body, timestamp, key, &signature.replace('6', "7")));
        }
        for garbage in ["", "zz", &"é".repeat(32), &"g".repeat(64)] {
            assert!(!verify_pulse("", "1", "key", garbage));
        }
    }

    #[test]
    fn the_digest_of_a_long_secret_verifies_what_the_secret_signed() {
        let secret = "s".repeat(65);
        let signature = sign_pulse("{}", "1", &secret);

        assert!(verify_pulse("{}", "1", Sha256::digest(&secret), &signature));
        let short = "s".repeat(64);
        assert!(!verify_pulse("{}", "1", Sha256::digest(&short), &sign_pulse("{}", "1", &short)));
    }
}
