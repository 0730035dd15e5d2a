//! AWS Signature Version 4, as far as one `POST` without a query needs it.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::credentials::Credentials;
use crate::{Secret, calendar::date_time, encoding::hex};

/// A request about to be signed.
pub(super) struct Signable<'r> {
    pub(super) method: &'r str,
    pub(super) region: &'r str,
    pub(super) service: &'r str,
    /// Names in lower case. What is signed holds these and no other headers.
    pub(super) headers: Vec<(&'r str, &'r str)>,
    pub(super) body: &'r str,
}

/// What makes a request a signed one: the time, as `X-Amz-Date` has it, and `Authorization`.
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
}

impl Signable<'_> {
    /// Signs the request with the path `/`.
    pub(super) fn sign(self, credentials: &Credentials, now: SystemTime) -> Signed {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // `2026-11-21T10:20:30` without the marks.
        let date: String =
            date_time(seconds).chars().filter(|c| !matches!(c, '-' | ':')).chain(['Z']).collect();
        let day = date.get(..8).unwrap_or_default().to_owned();
        let mut headers = self.headers;
        headers.push(("x-amz-date", &date));
        let token = credentials.session_token.as_ref().map(Secret::expose);
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        headers.sort_unstable();
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let canonical: String =
            headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let request = format!(
            "{}\n/\n\n{canonical}\n{names}\n{}",
            self.method,
            hex(&Sha256::digest(self.body.as_bytes()))
        );
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
        let first = Secret::new(format!("AWS4{}", credentials.secret_access_key.expose()));
        let mut key = mac(first.expose().as_bytes(), &day);
        for part in [self.region, self.service, "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex(&mac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            credentials.access_key_id
        );
        Signed { date, authorization }
    }
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of the published suite, as the signatures are.
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// 2015-08-30T12:36:00Z, the time of the published test suite.
    const THEN: Duration = Duration::from_secs(1_440_938_160);

    fn sign(method: &str, session_token: Option<&str>) -> Signed {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        };
        let headers = vec![("host", "example.amazonaws.com")];
        Signable { method, region: "us-east-1", service: "service", headers, body: "" }
            .sign(&credentials, SystemTime::UNIX_EPOCH + THEN)
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        for (method, signature) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let signed = sign(method, None);

            assert_eq!(signed.date, "20150830T123600Z");
            assert_eq!(
                signed.authorization,
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn the_token_of_temporary_credentials_is_signed_with_the_rest() {
        let signed = sign("POST", Some(TOKEN));

        // post-sts-header-before of the published suite.
        assert!(signed.authorization.contains("SignedHeaders=host;x-amz-date;x-amz-security-token"));
        assert!(
            signed
                .authorization
                .ends_with("Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
            "{}",
            signed.authorization
        );
    }
}
