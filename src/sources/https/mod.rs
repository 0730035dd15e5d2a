//! Documents from a web server, asked for conditionally.
//!
//! Choose it for an archive (`.tar.gz`) on a web server, a content delivery network or a release page, over `https`
//! or `http`. The answer's `ETag`, or else its `Last-Modified`, is the revision: the next load sends it back, and an
//! unchanged document costs one request and no body. Servers that send neither are asked for the whole each time,
//! and its digest is the revision. How requests travel is the transport's business; see `[transport]`.
//!
//! It cannot be told of changes: it is polled. It does not write.

mod config;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

pub use self::config::HttpsConfig;
use super::web::{Validator, Words, authorization, loaded, place_and_transport};
use crate::{
    Error, ErrorKind, Result, UriAuth,
    document::{Content, Document, Revision, SIGNATURE_EXTENSION},
    encoding::{hex, percent_decoded},
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Load, Request, Response, Source, Transport, redacted},
};

/// The name under which the source is registered.
pub const NAME: &str = "https";

const WORDS: Words = Words {
    credentials: "`uri_auth` in code, `source.https.bearer_token` in the configuration",
    timeout: "source.https.timeout_ms",
    nothing: "check the path of the URI",
    odd: "is it a URI that answers `GET` with an archive?",
};

/// A source over a web server; see the [module](self).
pub struct HttpsSource {
    config: HttpsConfig,
    uri: Uri,
    authorization: Option<HeaderValue>,
    transport: Arc<dyn Transport>,
    closed: AtomicBool,
}

impl HttpsSource {
    /// Opens the source; nothing is asked for yet. `auth` goes before credentials in the URI, and those before the
    /// configuration's.
    ///
    /// # Errors
    /// `Invalid` for what is no `https` or `http` URI, `Config` for credentials that no header can carry.
    pub fn open(
        config: HttpsConfig,
        uri: &str,
        auth: Option<&UriAuth>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self> {
        let (uri, in_uri) = parse(uri)?;
        let configured = || match (config.bearer_token.expose(), config.user.as_str()) {
            ("", "") => None,
            ("", user) => {
                Some(UriAuth::Basic { user: user.to_owned(), pass: config.password.expose().to_owned() })
            }
            (token, _) => Some(UriAuth::Bearer(token.to_owned())),
        };
        let auth = auth.cloned().or(in_uri).or_else(configured);
        let authorization = auth.as_ref().map(authorization).transpose()?;
        Ok(Self { config, uri, authorization, transport, closed: AtomicBool::new(false) })
    }

    fn request(&self, uri: Uri) -> Request {
        let mut request = Request::get(uri)
            .deadline(Duration::from_millis(self.config.timeout_ms))
            .body_limit(self.config.max_bytes);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn document(&self, response: Response) -> Result<Document> {
        let named = Validator::of(&response.headers).map(|validator| validator.revision());
        let content = self.read(response, self.config.max_bytes).await?;
        let revision = named.unwrap_or_else(|| digest(&content));
        let mut document = Document::new(revision, Content::Bytes(content));
        if let Some(name) = self.uri.path().rsplit('/').next().filter(|name| !name.is_empty()) {
            document = document.named(percent_decoded(name).unwrap_or_else(|| name.to_owned()));
        }
        match self.signature().await? {
            Some(signature) => Ok(document.signed(signature)),
            None => Ok(document),
        }
    }

    /// Asks for the detached signature, where the settings say that there is one.
    async fn signature(&self) -> Result<Option<Bytes>> {
        if !self.config.signature {
            return Ok(None);
        }
        let uri = beside(&self.uri)?;
        let response = self.transport.send(self.request(uri)).await.map_err(|e| WORDS.next_step(e))?;
        match response.status {
            StatusCode::OK => self.read(response, SIGNATURE_LIMIT).await.map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(WORDS.refused(&self.uri, response.status, &response.headers)),
        }
    }

    async fn read(&self, response: Response, limit: u64) -> Result<Bytes> {
        response.body.read_all(limit).await.map_err(|error| {
            if error.kind() == ErrorKind::LimitExceeded {
                return Error::new(ErrorKind::LimitExceeded, "read the document")
                    .with("uri", redacted(&self.uri))
                    .with("limit", limit)
                    .hint("a namespace's archive has at most 5,000,000 bytes; is it the right URI?");
            }
            WORDS.next_step(error)
        })
    }
}

#[async_trait]
impl Source for HttpsSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source")
                .with("uri", redacted(&self.uri)));
        }
        let mut request = self.request(self.uri.clone());
        if let Some((name, value)) = since.and_then(Validator::condition) {
            request = request.header(name, value);
        }
        let response = self.transport.send(request).await.map_err(|e| WORDS.next_step(e))?;
        match response.status {
            StatusCode::NOT_MODIFIED if since.is_some() => Ok(Load::Unchanged),
            StatusCode::OK => Ok(loaded(self.document(response).await?, since)),
            _ => Err(WORDS.refused(&self.uri, response.status, &response.headers)),
        }
    }

    async fn changed(&self) -> Result<()> {
        std::future::pending().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl fmt::Debug for HttpsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsSource")
            .field("uri", &redacted(&self.uri))
            .field("transport", &self.transport.name())
            .finish_non_exhaustive()
    }
}

/// More than any signature file of ours has.
const SIGNATURE_LIMIT: u64 = 64 * 1024;

fn digest(content: &[u8]) -> Revision {
    Revision::new(format!("sha256:{}", hex(&Sha256::digest(content))))
}

/// Reads a URI, and the credentials in it.
fn parse(text: &str) -> Result<(Uri, Option<UriAuth>)> {
    let refuse = |reason: &'static str| {
        // The text itself is not shown: it may hold a password.
        Error::new(ErrorKind::Invalid, "read the source's URI")
            .with("reason", reason)
            .hint("write it as `https://host/path/to/archive.tar.gz`")
    };
    let uri: Uri = text.parse().map_err(|_| refuse("it is malformed"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(refuse("its scheme is neither `https` nor `http`"));
    }
    let Some((user_info, host)) = uri.authority().and_then(|a| a.as_str().rsplit_once('@')) else {
        return Ok((uri, None));
    };
    let (user, pass) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (Some(user), Some(pass)) = (percent_decoded(user), percent_decoded(pass)) else {
        return Err(refuse("its user or password is wrongly escaped"));
    };
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(host.parse().map_err(|_| refuse("its host is malformed"))?);
    let bare = Uri::from_parts(parts).map_err(|_| refuse("it is malformed"))?;
    Ok((bare, Some(UriAuth::Basic { user, pass })))
}

/// Returns the URI of the detached signature: `.sig` behind the path.
fn beside(uri: &Uri) -> Result<Uri> {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    let path = format!("{}{SIGNATURE_EXTENSION}{query}", uri.path());
    let malformed = || Error::new(ErrorKind::Invalid, "name the signature's URI").with("uri", redacted(uri));
    parts.path_and_query = Some(path.parse().map_err(|_| malformed())?);
    Uri::from_parts(parts).map_err(|_| malformed())
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let (uri, transport) = place_and_transport(context, "open the https source")?;
    Ok(Arc::new(HttpsSource::open(context.settings()?, uri, context.auth(), transport)?))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("An archive on a web server, asked for conditionally")
    .with_schemes(&["https", "http"])
    .with_use_of_transport()
    .with_example(include_str!("example.toml"))
    .with_fields(HttpsConfig::FIELDS);
register_source!(PLUGIN);

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        live::block_on,
        testing::{Answer, ScriptedTransport},
    };

    #[test]
    fn credentials_are_taken_out_of_the_uri() {
        let (uri, auth) = parse("https://reader:s%40cret@flags.example.com/a.tar.gz?x=1").unwrap();

        assert_eq!(uri, "https://flags.example.com/a.tar.gz?x=1");
        assert_eq!(auth, Some(UriAuth::Basic { user: "reader".to_owned(), pass: "s@cret".to_owned() }));
    }

    #[test]
    fn what_is_no_web_uri_is_refused_without_being_shown() {
        for bad in ["ftp://u:s3cret@host/a", "s3cret", "https://u:s3cret%zz@host/", "https://"] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let peer = ScriptedTransport::new();
        let source =
            HttpsSource::open(HttpsConfig::default(), "http://peer/a", None, Arc::new(peer.clone())).unwrap();
        for kind in [ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::Corrupt] {
            peer.fail_next(kind);
            let error = block_on(source.load(None)).unwrap_err();
            assert!((error.kind(), error.hint_text().is_some()) == (kind, true), "{error:?}");
        }
        for status in [304, 307, 401, 403, 404, 408, 410, 418, 429, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            peer.answer("/a", Answer::Whole(status, HeaderMap::new(), Bytes::new()));
            let error = block_on(source.load(None)).unwrap_err();
            assert!(error.hint_text().is_some(), "{status}: {error:?}");
        }
    }

    #[test]
    fn the_signature_stands_beside_the_path_and_before_the_query() {
        let uri: Uri = "https://h/a.tar.gz?v=1".parse().unwrap();

        assert_eq!(beside(&uri).unwrap(), "https://h/a.tar.gz.sig?v=1");
    }
}
