//! Who asks, proven by a key or a session, and whether they are answered.

use std::sync::Arc;

use http::{HeaderMap, Uri, header};

use super::{
    Settings,
    host::Host,
    keys::digest,
    listeners::{Events, Who},
    model::{Kind, ServiceId},
    session::{self, Session},
    state::refusal,
    view::{Face, View},
};
use crate::{
    app::{App, bearer_of},
    model::SecretHash,
    problem::Problem,
    request::RequestInfo,
};

/// What clients send keys in.
const KEY: &str = "x-nexus-api-key";

/// Whoever has a key or a session of a service that is answered.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The id of the key or the session.
    pub(crate) id: Arc<str>,
    pub(crate) service: ServiceId,
    pub(crate) public: bool,
    /// What the service is handed out.
    pub(crate) view: Arc<View>,
    session: Option<Arc<Session>>,
    /// Of a key.
    secret: Option<SecretHash>,
}

impl Caller {
    /// Finds who sent these headers, and counts the request against their limit.
    ///
    /// # Errors
    /// `unauthorized` unless they carry a live key or session of the service of the host that is asked; `rate_limited`;
    /// `quarantined` and `billing_overdue`; what the store failed with.
    pub(crate) async fn of(
        app: &App,
        headers: &HeaderMap,
        uri: &Uri,
        info: &RequestInfo,
    ) -> Result<Self, Problem> {
        let settings = app.settings();
        let caller = match credential(headers) {
            Some(Credential::Key(secret)) => Self::of_key(app, settings, secret, info).await?,
            Some(Credential::Session(token)) => Self::of_session(app, settings, token, info).await?,
            None => None,
        };
        let Some(caller) = caller.filter(|caller| Host::of(headers, uri).may_be(&caller.view.service().slug))
        else {
            return Err(refused(app, info));
        };
        info.learn_key(&caller.id);
        match refusal(caller.view.service(), info.wall()) {
            Some(problem) => Err(problem),
            None => Ok(caller),
        }
    }

    async fn of_key(
        app: &App,
        settings: &Settings,
        secret: SecretHash,
        info: &RequestInfo,
    ) -> Result<Option<Self>, Problem> {
        if !settings.keys.has(&secret) {
            app.doubt_stranger(info)?;
        }
        let Some((key, known)) = settings.keys.live(app.store(), &secret, info.begun()).await? else {
            return Ok(None);
        };
        known.bucket.take(app.limits().settings, info.begun()).map_err(|wait| limited(app, wait))?;
        let Some(view) = settings.view(&key.service).await? else { return Ok(None) };
        Ok(Some(Self {
            id: Arc::from(&*key.id),
            service: key.service.clone(),
            public: key.public,
            view,
            session: None,
            secret: Some(secret),
        }))
    }

    async fn of_session(
        app: &App,
        settings: &Settings,
        token: &str,
        info: &RequestInfo,
    ) -> Result<Option<Self>, Problem> {
        let Some(session) = settings.session(token, info.wall()).await? else { return Ok(None) };
        let Some(view) = settings.view(&session.service).await? else { return Ok(None) };
        if !session.is_of(view.service()) {
            return Ok(None);
        }
        let bucket = &settings.seats.get(&session.service).sessions;
        bucket.take(app.limits().settings, info.begun()).map_err(|wait| limited(app, wait))?;
        Ok(Some(Self {
            id: Arc::from(&*session.id),
            service: session.service.clone(),
            public: false,
            view,
            session: Some(Arc::new(session)),
            secret: None,
        }))
    }

    /// Returns what the caller gets.
    pub(crate) fn face(&self) -> &Face {
        self.view.face(self.public)
    }

    /// Lets those write who may: secret keys and sessions of backend services.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn require_write(&self) -> Result<(), Problem> {
        if self.public {
            return Err(Problem::forbidden("a public key reads configs and flags, and nothing else"));
        }
        if self.view.service().kind != Kind::Backend {
            return Err(Problem::forbidden("the keys of a frontend service write nothing"));
        }
        Ok(())
    }

    /// Opens the stream of the caller's service.
    ///
    /// # Errors
    /// `rate_limited` for too many streams; `unauthorized` for a key that was revoked a moment ago.
    pub(crate) async fn listen(&self, app: &App) -> Result<Events, Problem> {
        let who = Who { id: Arc::clone(&self.id), public: self.public, session: self.session.clone() };
        let events = app.settings().listen(&self.service, who).await?;
        // After it listens: a key that was revoked before is seen here, of one that is revoked later the stream is told.
        if let Some(secret) = &self.secret
            && app.settings().keys.live(app.store(), secret, app.clock().now()).await?.is_none()
        {
            return Err(unauthorized());
        }
        Ok(events)
    }
}

enum Credential<'h> {
    Key(SecretHash),
    Session(&'h str),
}

/// Reads what a request is made with, which is one thing only.
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    let mut keys = headers.get_all(KEY).iter();
    let bearers = headers.contains_key(header::AUTHORIZATION);
    match (keys.next(), keys.next()) {
        (Some(key), None) if !bearers => digest(key.to_str().ok()?).map(Credential::Key),
        (None, _) => {
            let secret = bearer_of(headers)?;
            let is_session = secret.starts_with(session::PREFIX);
            if is_session { Some(Credential::Session(secret)) } else { digest(secret).map(Credential::Key) }
        }
        _ => None,
    }
}

/// Which of key, session and host is wrong is nobody's business.
fn refused(app: &App, info: &RequestInfo) -> Problem {
    app.metrics().unauthenticated.add(1);
    // Guessing at a key that is at hand is guessing as well.
    app.doubt_stranger(info).err().unwrap_or_else(unauthorized)
}

fn unauthorized() -> Problem {
    Problem::new(
        http::StatusCode::UNAUTHORIZED,
        "unauthenticated",
        "a valid key of the service of this host is required: `X-Nexus-API-Key: …` or `Authorization: Bearer …`",
    )
}

fn limited(app: &App, wait: std::time::Duration) -> Problem {
    app.metrics().rate_limited.add(1);
    Problem::rate_limited("the service's key has made too many requests", wait)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn one_credential_is_read_and_two_are_none() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            match credential(&headers) {
                Some(Credential::Key(_)) => "key",
                Some(Credential::Session(_)) => "session",
                None => "none",
            }
        };

        assert_eq!(of(&[("x-nexus-api-key", "wxs_a")]), "key");
        assert_eq!(of(&[("authorization", "Bearer wxs_a")]), "key");
        assert_eq!(of(&[("authorization", "bearer wxt_a")]), "session");
        assert_eq!(of(&[("x-nexus-api-key", "wxt_a")]), "none");
        assert_eq!(of(&[("x-nexus-api-key", "wxs_a"), ("authorization", "Bearer wxs_a")]), "none");
        assert_eq!(of(&[("x-nexus-api-key", "wxs_a"), ("x-nexus-api-key", "wxs_a")]), "none");
        assert_eq!(of(&[("authorization", "Bearer exd_admin_a")]), "none");
        assert_eq!(of(&[]), "none");
    }
}
