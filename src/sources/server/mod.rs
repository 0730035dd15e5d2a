//! A namespace on a server, asked conditionally.
//!
//! Choose it for the manifest that a team pushes to a Leverframe server, or to any other that speaks the same
//! contract; an edge deployment is another base URL. The answer's `ETag` is the revision: an unchanged manifest costs
//! one request and no body.
//!
//! `exd-server://host[:port]/[tenant/]namespace` names such a namespace: asked over `https`, on the loopback interface
//! over `http`, and over `http` anywhere with `exd-server+http://`. The token comes from
//! [`UriAuth::Bearer`](crate::UriAuth), `[flags.<name>] bearer_token`, `[source.server] api_token` or `EXD_API_TOKEN`;
//! it does not belong into a URI.
//!
//! With `event_stream` a client is told of changes: see `ExdClient::builder`, and `[flags.<name>] event_stream`.
//!
//! It does not write; `ManifestClient` does.

mod api;
mod config;
mod place;
pub(crate) mod stream;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use http::StatusCode;
use sha2::{Digest, Sha256};

#[cfg(feature = "async-tokio")]
pub(crate) use self::place::{OWN_TENANT, api_uri};
use self::{
    api::{Api, Refusal},
    place::{SCHEME, SCHEME_OVER_HTTP},
};
pub use self::{config::ServerConfig, place::ServerPlace};
use super::web::{Validator, loaded, place_and_transport};
use crate::{
    Error, ErrorKind, Result, UriAuth,
    document::{Content, Document, Revision},
    encoding::hex,
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Load, Response, Source, Transport},
};

/// The name under which the source is registered.
pub const NAME: &str = "server";

/// A source over a server's manifest endpoint; see the [module](self).
pub struct ServerSource {
    api: Api,
    closed: AtomicBool,
}

impl ServerSource {
    /// Opens the source; nothing is asked for yet. `auth` goes before the configuration's token.
    ///
    /// # Errors
    /// `Config` for a token that no header can carry.
    pub fn open(
        config: &ServerConfig,
        place: ServerPlace,
        auth: Option<&UriAuth>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self> {
        Ok(Self { api: Api::new(config, place, auth, transport)?, closed: AtomicBool::new(false) })
    }

    async fn document(&self, response: Response) -> Result<Document> {
        let named = Validator::of(&response.headers).map(|validator| validator.revision());
        let uri = self.api.place.of_namespace("manifest")?;
        let content = self.api.read(&uri, response).await?;
        let digest = || Revision::new(format!("sha256:{}", hex(&Sha256::digest(&content))));
        let revision = named.unwrap_or_else(digest);
        Ok(Document::new(revision, Content::Bytes(content)).named(self.api.place.namespace()))
    }
}

#[async_trait]
impl Source for ServerSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed(&self.api.place));
        }
        let condition = since.and_then(Validator::condition).map(|(_, value)| value);
        let response = self.api.manifest(condition).await?;
        match response.status {
            StatusCode::NOT_MODIFIED if since.is_some() => Ok(Load::Unchanged),
            StatusCode::OK => Ok(loaded(self.document(response).await?, since)),
            _ => {
                let uri = self.api.place.of_namespace("manifest")?;
                Err(Refusal::read(&uri, response).await.error)
            }
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

impl fmt::Debug for ServerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSource")
            .field("place", &self.api.place.to_string())
            .field("transport", &self.api.transport.name())
            .finish_non_exhaustive()
    }
}

fn closed(place: &ServerPlace) -> Error {
    Error::new(ErrorKind::Cancelled, "load from a closed source").with("place", place)
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let (uri, transport) = place_and_transport(context, "open the server source")?;
    let place = ServerPlace::of_uri(uri)?;
    Ok(Arc::new(ServerSource::open(&context.settings()?, place, context.auth(), transport)?))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("A namespace on a server, asked conditionally or told by its event stream")
    .with_schemes(&[SCHEME, SCHEME_OVER_HTTP])
    .with_use_of_transport()
    .with_example(include_str!("example.toml"))
    .with_fields(ServerConfig::FIELDS);
register_source!(PLUGIN);
