//! Carries git's protocol over the transport: a GET for the greeting, a POST for each request.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header};

use super::{
    place::HttpPlace,
    wire::{Deadline, Wire, not_git},
};
use crate::{
    Error, ErrorKind, Result, Retry, UriAuth,
    encoding::base64,
    traits::{Body, Request, Response, Transport, redacted},
};

/// A git server behind a URL.
pub(super) struct HttpWire {
    transport: Arc<dyn Transport>,
    base: String,
    /// Whether the greeting came from another URL than the configured one: only asking again tells which.
    has_moved: bool,
    authorization: Option<HeaderValue>,
    deadline: Deadline,
    limit: u64,
    answer: Option<Body>,
}

impl HttpWire {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        place: &HttpPlace,
        auth: Option<&UriAuth>,
        deadline: Deadline,
        limit: u64,
    ) -> Result<Self> {
        let authorization = authorization(place, auth)?;
        Ok(Self {
            transport,
            base: place.base.clone(),
            has_moved: false,
            authorization,
            deadline,
            limit,
            answer: None,
        })
    }

    async fn exchange(&mut self, request: Request, answer_type: &str) -> Result<Redirected> {
        let mut request = request
            .deadline(self.deadline.left())
            .body_limit(self.limit)
            // A proxy on the way must not answer with what it remembers.
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .header(header::HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let shown = redacted(&request.uri);
        let response = self.transport.send(request).await?;
        if response.status.is_redirection()
            && let Some(to) = response.headers.get(header::LOCATION)
        {
            return Ok(Redirected::To(to.as_bytes().to_vec()));
        }
        check_status(&response, &shown)?;
        let found =
            response.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if found.split(';').next().unwrap_or_default().trim() != answer_type {
            return Err(not_git("the answer is not of git's type").with("uri", shown));
        }
        self.answer = Some(response.body);
        Ok(Redirected::No)
    }

    /// Follows a repository that was renamed, but never to another server: it would be handed the credentials.
    fn follow(&mut self, to: &[u8]) -> Result<()> {
        let shown = self.base.clone();
        let refuse = |reason| {
            Error::new(ErrorKind::Invalid, "follow the git server's redirection")
                .with("uri", &shown)
                .with("reason", reason)
                .hint("put the repository's present URL into the configuration")
        };
        let to = std::str::from_utf8(to).map_err(|_| refuse("its target is not a URL"))?;
        let here: Uri = self.base.parse().map_err(|_| refuse("the base is not a URL"))?;
        let origin = format!(
            "{}://{}",
            here.scheme_str().unwrap_or_default(),
            here.authority().map_or("", http::uri::Authority::as_str)
        );
        let target = if to.starts_with('/') && !to.starts_with("//") {
            format!("{origin}{to}")
        } else {
            to.to_owned()
        };
        let base = target
            .strip_suffix(GREETING)
            .ok_or_else(|| refuse("its target is not a git repository; the server may want a log-in"))?;
        if !base.strip_prefix(&origin).is_some_and(|path| path.starts_with('/')) {
            return Err(refuse("it leads to another server"));
        }
        base.clone_into(&mut self.base);
        self.has_moved = true;
        Ok(())
    }

    fn uri(&self, end: &str) -> Result<Uri> {
        format!("{}{end}", self.base).parse().map_err(|_| not_git("the repository's URL is not one"))
    }
}

#[async_trait]
impl Wire for HttpWire {
    async fn greet(&mut self) -> Result<()> {
        for _ in 0..MOST_REDIRECTIONS {
            let request = Request::get(self.uri(GREETING)?);
            match self.exchange(request, "application/x-git-upload-pack-advertisement").await? {
                Redirected::No => return Ok(()),
                Redirected::To(target) => self.follow(&target)?,
            }
        }
        Err(not_git("the server redirects without end"))
    }

    async fn send(&mut self, body: Vec<u8>) -> Result<()> {
        self.answer = None;
        let mut request = Request::new(Method::POST, self.uri("/git-upload-pack")?)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-git-upload-pack-request"));
        request.body = body.into();
        match self.exchange(request, "application/x-git-upload-pack-result").await? {
            Redirected::No => Ok(()),
            Redirected::To(_) => Err(Error::new(ErrorKind::Unavailable, "ask the git server")
                .with("uri", &self.base)
                .with("reason", "the repository has moved")
                .retry(Retry::Now)),
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        match &mut self.answer {
            Some(answer) => answer.next().await,
            None => Ok(None),
        }
    }

    fn may_skip_greeting(&self) -> bool {
        !self.has_moved
    }
}

enum Redirected {
    No,
    To(Vec<u8>),
}

const GREETING: &str = "/info/refs?service=git-upload-pack";
const MOST_REDIRECTIONS: usize = 4;

fn authorization(place: &HttpPlace, auth: Option<&UriAuth>) -> Result<Option<HeaderValue>> {
    let basic =
        |user: &str, password: &str| format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
    let text = match (auth, &place.login) {
        (Some(UriAuth::Bearer(token)), _) => format!("Bearer {token}"),
        (Some(UriAuth::Basic { user, pass }), _) => basic(user, pass),
        (None, Some(login)) => basic(login.user.expose(), login.password.expose()),
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        // The cause is left out: it would print what it does not like.
        Error::new(ErrorKind::Config, "use the credentials for git")
            .with("reason", "they hold characters that no header may hold")
            .hint("check the token for a line break at its end")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn check_status(response: &Response, shown: &str) -> Result<()> {
    let status = response.status;
    let (kind, retry, hint) = match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED => (
            ErrorKind::Unauthenticated,
            Retry::Never,
            "give a token that may read the repository; some servers take it only as the password of Basic, with any user",
        ),
        StatusCode::FORBIDDEN => (
            ErrorKind::PermissionDenied,
            Retry::Never,
            "the credentials are known, but may not read the repository",
        ),
        StatusCode::NOT_FOUND | StatusCode::GONE => (
            ErrorKind::NotFound,
            Retry::Never,
            "check the URI; servers also say this of a private repository to those who may not see it",
        ),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            (ErrorKind::Unavailable, pause(response), "poll less often")
        }
        _ if status.is_server_error() => (ErrorKind::Unavailable, pause(response), "see the server's log"),
        _ => (ErrorKind::Invalid, Retry::Never, "check that the URI names a git repository"),
    };
    Err(Error::new(kind, "ask the git server")
        .with("uri", shown)
        .with("status", status.as_u16())
        .retry(retry)
        .hint(hint))
}

fn pause(response: &Response) -> Retry {
    let seconds =
        response.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Retry::Now, |s: u32| Retry::After(Duration::from_secs(u64::from(s))))
}
