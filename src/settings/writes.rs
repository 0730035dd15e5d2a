//! Writing: secrets, configs and flags.

use http::{HeaderName, HeaderValue, Method, header};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use bytes::Bytes;

use super::{
    NexusClient, NexusError,
    client::Shared,
    model::{Form, SecretEntry},
    patches::{Now, Patch},
};
use crate::{
    Secret,
    encoding::{base64, percent_encoded},
    live::block_on,
    traits::Request,
};

const IF_VERSION: HeaderName = HeaderName::from_static("if-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Under which conditions a write is made.
///
/// # Examples
/// ```
/// use leverframe::settings::WriteOptions;
/// let options = WriteOptions::new().if_version(3).idempotency_key("rotation-2026-06-01");
/// assert_eq!(options, options.clone());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it does nothing until it is handed to a write"]
pub struct WriteOptions {
    if_version: Option<u32>,
    idempotency_key: Option<String>,
}

impl WriteOptions {
    /// Makes a write without conditions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes only if this is the version that is stored; 0 if nothing is.
    pub fn if_version(mut self, version: u32) -> Self {
        self.if_version = Some(version);
        self
    }

    /// Names the write, so that the service makes it once, however often it is sent.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

/// A flag as it is written.
///
/// # Examples
/// ```
/// use leverframe::settings::FlagWrite;
/// let flag = FlagWrite::new(true).rollout_percent(12.5);
/// assert_eq!(serde_json::to_string(&flag).unwrap(), r#"{"is_active":true,"rollout_percent":12.5}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[must_use = "it does nothing until it is handed to a write"]
pub struct FlagWrite {
    is_active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout_percent: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Value>,
}

impl FlagWrite {
    /// Makes a flag that is on or off.
    pub fn new(is_active: bool) -> Self {
        Self { is_active, starts_at: None, ends_at: None, rollout_percent: None, rules: Vec::new() }
    }

    /// Keeps it off before a time, in RFC 3339.
    pub fn starts_at(mut self, time: impl Into<String>) -> Self {
        self.starts_at = Some(time.into());
        self
    }

    /// Switches it off at a time, in RFC 3339.
    pub fn ends_at(mut self, time: impl Into<String>) -> Self {
        self.ends_at = Some(time.into());
        self
    }

    /// Has it on for so many of a hundred users only, where it is asked for single users.
    pub fn rollout_percent(mut self, percent: f64) -> Self {
        self.rollout_percent = Some(percent);
        self
    }

    /// Adds a rule, a predicate of the manifest as JSON, for where it is asked for single users.
    pub fn rule(mut self, predicate: Value) -> Self {
        self.rules.push(predicate);
        self
    }
}

impl NexusClient {
    /// Stores a secret that is a text, as a new version. The client itself reads it at once.
    ///
    /// # Errors
    /// `PublicKeyRestricted` and `ServiceKindMismatch` before anybody is asked; what the service refuses with, such as
    /// `RateLimited`, or what kept it from answering: whether it was stored is not known then.
    pub fn set_secret(&self, key: &str, value: &str) -> Result<(), NexusError> {
        self.set_secret_with(key, &Secret::new(value), &WriteOptions::new())
    }

    /// Stores a secret that is a text, under conditions.
    ///
    /// # Errors
    /// Those of [`set_secret`](Self::set_secret), and `Conflict` where another version is stored than expected.
    pub fn set_secret_with(
        &self,
        key: &str,
        value: &Secret,
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        block_on(self.shared.put_secret(key, value, Form::Text, options))
    }

    /// Stores a secret that is a file, whatever bytes it has, under conditions.
    ///
    /// # Errors
    /// Those of [`set_secret_with`](Self::set_secret_with).
    pub fn set_secret_file(
        &self,
        key: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        block_on(self.shared.put_secret(key, &Secret::new(base64(content)), Form::FileInBase64, options))
    }

    /// Deletes a secret with all its versions. The client itself reads nothing of it at once, but where the service inherits
    /// from another one: what is left then, it learns with the next sync.
    ///
    /// # Errors
    /// Those of [`set_secret`](Self::set_secret), and `NotFound` where there is none.
    pub fn delete_secret(&self, key: &str) -> Result<(), NexusError> {
        block_on(self.shared.delete_secret(key, None))
    }

    /// Deletes one version of a secret; what is left, the client learns with the next sync.
    ///
    /// # Errors
    /// Those of [`delete_secret`](Self::delete_secret).
    pub fn delete_secret_version(&self, key: &str, version: u32) -> Result<(), NexusError> {
        block_on(self.shared.delete_secret(key, Some(version)))
    }

    /// Stores a config. A service of the published protocol alone does not do this. The client itself reads it at once, but
    /// for what references (`{{secret:K}}`) stand for: that it learns with the next sync.
    ///
    /// # Errors
    /// Those of [`set_secret_with`](Self::set_secret_with), but for `ServiceKindMismatch`.
    pub fn set_config(&self, key: &str, value: &Value, options: &WriteOptions) -> Result<(), NexusError> {
        block_on(self.shared.put_config(key, value, options))
    }

    /// Deletes a config, which is read as [`delete_secret`](Self::delete_secret) says. A service of the published protocol
    /// alone does not do this.
    ///
    /// # Errors
    /// Those of [`delete_secret`](Self::delete_secret), but for `ServiceKindMismatch`.
    pub fn delete_config(&self, key: &str) -> Result<(), NexusError> {
        let patch = Patch::Config(key.to_owned(), self.shared.deleted());
        block_on(self.shared.delete("/v1/configs/", key, patch))
    }

    /// Stores a flag. A service of the published protocol alone does not do this. The client itself reads it at once, but
    /// for one with times: whether that is on, it learns with the next sync.
    ///
    /// # Errors
    /// Those of [`set_config`](Self::set_config).
    pub fn set_flag(&self, key: &str, flag: &FlagWrite, options: &WriteOptions) -> Result<(), NexusError> {
        block_on(self.shared.put_flag(key, flag, options))
    }

    /// Deletes a flag, which is read as [`delete_secret`](Self::delete_secret) says. A service of the published protocol
    /// alone does not do this.
    ///
    /// # Errors
    /// Those of [`delete_config`](Self::delete_config).
    pub fn delete_flag(&self, key: &str) -> Result<(), NexusError> {
        let patch = Patch::Flag(key.to_owned(), self.shared.deleted());
        block_on(self.shared.delete("/v1/flags/", key, patch))
    }
}

#[derive(Serialize)]
struct SecretBody<'a> {
    key: &'a str,
    value: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
}

#[derive(Serialize)]
struct ConfigBody<'a> {
    value: &'a Value,
}

impl Shared {
    async fn put_secret(
        &self,
        key: &str,
        value: &Secret,
        form: Form,
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        self.check_kind_and_key()?;
        let (r#type, encoding) = match form {
            Form::Text => ("text", None),
            _ => ("file", Some("base64")),
        };
        let body = json(&SecretBody { key, value: value.expose(), r#type, encoding })?;
        let request = with_options(self.service.request(Method::POST, "/v1/secrets")?, options)?;
        let mut entry = SecretEntry::text(value.clone(), self.version_of(key).saturating_add(1));
        entry.form = form;
        let patch = Patch::Secret(key.to_owned(), Now::Is(entry));
        self.write("secret write", carrying(request, body), patch).await
    }

    async fn delete_secret(&self, key: &str, version: Option<u32>) -> Result<(), NexusError> {
        self.check_kind_and_key()?;
        let query = version.map(|version| format!("?version={version}")).unwrap_or_default();
        let path = format!("/v1/secrets/{}{query}", segment(key)?);
        // What is left of a secret that lost one version, only the service knows.
        let now = if version.is_none() { self.deleted() } else { Now::Unknown };
        let patch = Patch::Secret(key.to_owned(), now);
        self.write("secret write", self.service.request(Method::DELETE, &path)?, patch).await
    }

    async fn put_config(&self, key: &str, value: &Value, options: &WriteOptions) -> Result<(), NexusError> {
        self.check_key()?;
        let path = format!("/v1/configs/{}", segment(key)?);
        let request = with_options(self.service.request(Method::PUT, &path)?, options)?;
        let body = json(&ConfigBody { value })?;
        // What a reference stands for, only the service knows. JSON escapes no brace, and has two together in texts alone.
        let refers = body.windows(2).any(|two| two == b"{{");
        let now = if refers { Now::Unknown } else { Now::Is(value.clone()) };
        self.write("config write", carrying(request, body), Patch::Config(key.to_owned(), now)).await
    }

    async fn put_flag(&self, key: &str, flag: &FlagWrite, options: &WriteOptions) -> Result<(), NexusError> {
        self.check_key()?;
        let path = format!("/v1/flags/{}", segment(key)?);
        let request = with_options(self.service.request(Method::PUT, &path)?, options)?;
        // Whether a flag with times is on now, only the service knows.
        let timed = flag.starts_at.is_some() || flag.ends_at.is_some();
        let now = if timed { Now::Unknown } else { Now::Is(flag.is_active) };
        self.write("flag write", carrying(request, json(flag)?), Patch::Flag(key.to_owned(), now)).await
    }

    async fn delete(&self, path: &str, key: &str, patch: Patch) -> Result<(), NexusError> {
        self.check_key()?;
        let request = self.service.request(Method::DELETE, &format!("{path}{}", segment(key)?))?;
        self.write("write", request, patch).await
    }

    async fn write(&self, what: &'static str, request: Request, patch: Patch) -> Result<(), NexusError> {
        self.check_open()?;
        // What the answer says besides is not needed: the next sync brings it.
        self.service.send(what, request).await?;
        self.after_write(patch).await;
        Ok(())
    }

    fn check_kind_and_key(&self) -> Result<(), NexusError> {
        self.check_key()?;
        self.check_kind()
    }
}

/// Writes a body into memory that is wiped when the last who holds it lets go.
pub(super) fn json(body: &impl Serialize) -> Result<Bytes, NexusError> {
    // Measured first: what grows leaves copies behind.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, body)
        .map_err(|error| NexusError::malformed("what is to be sent", &error))?;
    let mut text = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *text, body)
        .map_err(|error| NexusError::malformed("what is to be sent", &error))?;
    Ok(Bytes::from_owner(text))
}

struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Puts a JSON body into a request.
pub(super) fn carrying(request: Request, body: Bytes) -> Request {
    let mut request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body = body;
    request
}

fn with_options(mut request: Request, options: &WriteOptions) -> Result<Request, NexusError> {
    if let Some(version) = options.if_version {
        request = request.header(IF_VERSION, HeaderValue::from(version));
    }
    if let Some(key) = &options.idempotency_key {
        let value = HeaderValue::from_str(key).map_err(|_| {
            NexusError::Config("the idempotency key has a character that no header carries".to_owned())
        })?;
        request = request.header(IDEMPOTENCY_KEY, value);
    }
    Ok(request)
}

/// Writes a key as one segment of a path. The two that paths have another use for name no key.
fn segment(key: &str) -> Result<String, NexusError> {
    if matches!(key, "" | "." | "..") { Err(NexusError::BadRequest) } else { Ok(percent_encoded(key)) }
}
