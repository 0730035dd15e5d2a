//! The request to AWS that a workload has signed and not sent: `GetCallerIdentity`, which says who has signed it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use leverframe::Secret;
use serde::Deserialize;

/// What is signed, byte for byte: whatever else AWS would do for the signer is not asked for.
pub(super) const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
/// By how much the time of the signature may be off, either way.
pub(super) const LIFE: Duration = Duration::from_secs(300);
/// What may stand in it, by the names in lower case. Everything but the signature itself and the length has to be signed.
const ALLOWED: [&str; 8] = [
    "authorization",
    "content-length",
    "content-type",
    "host",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-nexus-server-id",
];
const MUST_BE_SIGNED: [&str; 3] = ["host", "x-amz-date", "x-nexus-server-id"];
/// Bytes of a header: AWS's session tokens are the longest ones.
const LONGEST: usize = 8 * 1_024;

/// What a workload sends.
#[derive(Deserialize)]
pub(crate) struct SignedRequest {
    headers: BTreeMap<String, Secret>,
    body: Secret,
}

/// A signed request that may be sent on.
pub(super) struct Signed<'r> {
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, &'r str>,
    pub(super) region: String,
    /// The host that the signature is good for, as the workload calls it.
    pub(super) server: String,
    pub(super) at: SystemTime,
    /// Its bytes, which are of what is signed alone and not of how the header around them is written.
    pub(super) signature: [u8; 32],
}

impl SignedRequest {
    /// Takes the request apart; `regions` are those that it may be for.
    pub(super) fn checked(&self, regions: &[String], now: SystemTime) -> Result<Signed<'_>, &'static str> {
        if self.body.expose() != BODY {
            return Err("the signed body is another one");
        }
        let mut headers = BTreeMap::new();
        for (name, value) in &self.headers {
            let (name, value) = (name.to_ascii_lowercase(), value.expose());
            let plain = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            if !ALLOWED.contains(&&*name) || value.len() > LONGEST || !plain {
                return Err("it holds a header that it must not");
            }
            if headers.insert(name, value).is_some() {
                return Err("it holds a header twice");
            }
        }
        let header = |name: &str| headers.get(name).copied().ok_or("a header is missing");
        if headers.get("content-length").is_some_and(|length| **length != *BODY.len().to_string()) {
            return Err("its length is another one");
        }
        let date = header("x-amz-date")?;
        let at = time_of(date).ok_or("its time cannot be read")?;
        let off = now.duration_since(at).or_else(|_| at.duration_since(now)).unwrap_or(Duration::MAX);
        if off > LIFE {
            return Err("its time is more than 5 minutes off");
        }
        let parts = parts_of(header("authorization")?).ok_or("its signature cannot be read")?;
        let [day, region, "sts", "aws4_request"] = parts.scope[..] else {
            return Err("it is signed for something else");
        };
        if !date.starts_with(day) || !regions.iter().any(|allowed| allowed == region) {
            return Err("it is signed for another day or region");
        }
        if header("host")? != format!("sts.{region}.amazonaws.com") {
            return Err("it is signed for another host");
        }
        if !MUST_BE_SIGNED.iter().all(|name| parts.signed.contains(name)) {
            return Err("a header that matters is not signed");
        }
        let unsigned = |name: &&String| !["authorization", "content-length"].contains(&&***name);
        if !headers.keys().filter(unsigned).all(|name| parts.signed.contains(&&**name)) {
            return Err("it holds a header that is not signed");
        }
        let (region, server) = (region.to_owned(), header("x-nexus-server-id")?.to_ascii_lowercase());
        Ok(Signed { headers, region, server, at, signature: parts.signature })
    }
}

struct Parts<'a> {
    /// Of the credential: day, region, service, and the word at the end.
    scope: Vec<&'a str>,
    /// The names of the headers.
    signed: Vec<&'a str>,
    signature: [u8; 32],
}

fn parts_of(authorization: &str) -> Option<Parts<'_>> {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let mut fields = BTreeMap::new();
    for field in rest.split(',') {
        let (name, value) = field.trim().split_once('=')?;
        if fields.insert(name, value).is_some() {
            return None;
        }
    }
    let (credential, signed) = (fields.remove("Credential")?, fields.remove("SignedHeaders")?);
    let signature = fields.remove("Signature")?;
    let signature = bytes_of(signature)?;
    let mut scope = credential.split('/');
    let key = scope.next()?;
    let known = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (fields.is_empty() && known).then(|| Parts {
        scope: scope.collect(),
        signed: signed.split(';').collect(),
        signature,
    })
}

/// Reads hexadecimal digits as AWS writes them.
fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(digits[0])? * 16 + digit(digits[1])?;
    }
    (hex.len() == 64).then_some(bytes)
}

/// Reads `20261121T102030Z`.
fn time_of(text: &str) -> Option<SystemTime> {
    if text.len() != 16 || !text.is_ascii() {
        return None;
    }
    let (day, time) = text.strip_suffix('Z')?.split_once('T').filter(|(day, _)| day.len() == 8)?;
    leverframe::from_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        &day[..4],
        &day[4..6],
        &day[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    ))
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedRequest(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    fn request() -> BTreeMap<String, String> {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/sts/aws4_request, \
             SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;x-nexus-server-id, \
             Signature={SIGNATURE}"
        );
        [
            ("Host", "sts.eu-central-1.amazonaws.com"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", "43"),
            ("X-Nexus-Server-ID", "Acme-Web-Prod.example.com"),
            ("X-Amz-Date", "20150830T123600Z"),
            ("X-Amz-Security-Token", "token"),
            ("Authorization", &authorization),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn checked(
        headers: &BTreeMap<String, String>,
        body: &str,
        off: i64,
    ) -> Result<(String, String), &'static str> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), Secret::new(value))).collect();
        let request = SignedRequest { headers, body: Secret::new(body) };
        let then = leverframe::from_rfc3339("2015-08-30T12:36:00Z").unwrap();
        let by = Duration::from_secs(off.unsigned_abs());
        let now = if off < 0 { then - by } else { then + by };
        let regions = ["eu-central-1".to_owned(), "us-east-1".to_owned()];
        request.checked(&regions, now).map(|signed| (signed.region, signed.server))
    }

    fn changed(header: &str, from: &str, to: &str) -> Result<(String, String), &'static str> {
        let mut headers = request();
        let value = headers.get_mut(header).unwrap();
        assert!(value.contains(from), "{from}");
        *value = value.replacen(from, to, 1);
        checked(&headers, BODY, 0)
    }

    #[test]
    fn a_request_is_for_a_region_and_a_server() {
        let signed = ("eu-central-1".to_owned(), "acme-web-prod.example.com".to_owned());

        for off in [-300, 0, 300] {
            assert_eq!(checked(&request(), BODY, off), Ok(signed.clone()));
        }
        for off in [-301, 301] {
            assert_eq!(checked(&request(), BODY, off), Err("its time is more than 5 minutes off"));
        }
    }

    #[test]
    fn nothing_but_the_question_who_one_is_is_sent_on() {
        for body in
            ["", "Action=GetCallerIdentity", &format!("{BODY}&x=y"), "Action=AssumeRole&Version=2011-06-15"]
        {
            assert!(checked(&request(), body, 0).is_err(), "{body}");
        }
        for (header, from, to) in [
            ("Host", "eu-central-1", "us-east-1"),
            ("Host", "amazonaws.com", "amazonaws.com.evil.example"),
            ("Host", "sts", "iam"),
            ("Content-Length", "43", "44"),
            ("X-Amz-Date", "Z", ""),
            ("X-Amz-Date", "T1236", "T2536"),
            ("X-Amz-Date", "20150830", "20150231"),
            ("X-Amz-Security-Token", "token", "to\r\nken"),
            ("Authorization", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            ("Authorization", "20150830", "20150829"),
            ("Authorization", "eu-central-1", "eu-west-1"),
            ("Authorization", "/sts/", "/iam/"),
            ("Authorization", "/aws4_request", "/aws4_request/x"),
            ("Authorization", "host;", ""),
            ("Authorization", "x-amz-date;", ""),
            ("Authorization", "x-amz-security-token;", ""),
            ("Authorization", ";x-nexus-server-id", ""),
            ("Authorization", "Signature=5", "Signature=G"),
            ("Authorization", "Signature=5f", "Signature=5F"),
            ("Authorization", "Signature=5", "Signature="),
            ("Authorization", "Credential=AKIDEXAMPLE", "Credential="),
            ("Authorization", "Signature=", "Signature=x, Signature="),
        ] {
            assert!(changed(header, from, to).is_err(), "{header}: {to}");
        }
    }

    #[test]
    fn headers_that_are_not_known_or_not_there_are_refused() {
        for header in ["Host", "X-Nexus-Server-ID", "X-Amz-Date", "Authorization"] {
            let mut headers = request();
            headers.remove(header);
            assert!(checked(&headers, BODY, 0).is_err(), "{header}");
        }
        for (header, value) in
            [("X-Forwarded-For", "a"), ("host", "sts.eu-central-1.amazonaws.com"), ("Cookie", "a")]
        {
            let mut headers = request();
            headers.insert(header.to_owned(), value.to_owned());
            assert!(checked(&headers, BODY, 0).is_err(), "{header}");
        }
        let mut headers = request();
        headers.insert("X-Amz-Security-Token".to_owned(), "x".repeat(9_000));
        assert!(checked(&headers, BODY, 0).is_err());
    }
}
