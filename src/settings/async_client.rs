//! The twin of the client for async programs.

use std::{collections::HashMap, fmt, ops::Deref, sync::Arc, thread};

use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use super::{FlagWrite, NexusClient, NexusClientBuilder, NexusConfig, NexusError, WriteOptions};
use crate::Secret;

/// A [`NexusClient`] whose calls to the service are awaited.
///
/// Reads are those of [`NexusClient`], which it dereferences to: they never wait. What writes files is done on a thread of
/// its own, so that it holds up no executor, whichever there is, and none is needed; once begun it goes on where nobody
/// waits for it. At most 32 such calls of it and its clones are under way at a time, further ones wait for their turn.
/// [`evaluate_ab`](Self::evaluate_ab) writes none: it is awaited where it is called, and over where its future is dropped.
/// Clones, and the [`NexusClient`] that it was made of, are one client.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), leverframe::NexusError> {
/// use leverframe::{NexusConfig, settings::AsyncNexusClient};
/// let client = AsyncNexusClient::create(NexusConfig {
///     api_key: "wxs_...".into(),
///     endpoint: "https://swift-ocean-a5rx7.example.com".into(),
///     ..Default::default()
/// })
/// .await?;
/// client.run_stream();
/// client.set_secret("DB_PASSWORD", "correct horse").await?;
/// assert_eq!(client.get_secret("DB_PASSWORD")?.expose(), "correct horse");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncNexusClient {
    client: NexusClient,
    /// Those of calls that take a thread each.
    turns: Arc<Semaphore>,
}

/// Calls on threads of their own that are under way at a time.
const MOST_CALLS: usize = 32;

impl AsyncNexusClient {
    /// Asks the service for everything and starts to keep it current.
    ///
    /// # Errors
    /// Those of [`NexusClient::create`].
    pub async fn create(config: NexusConfig) -> Result<Self, NexusError> {
        Self::build(NexusClientBuilder::new(config)).await
    }

    /// Does what [`NexusClientBuilder::build`] does.
    ///
    /// # Errors
    /// Those of [`NexusClientBuilder::build`].
    pub async fn build(builder: NexusClientBuilder) -> Result<Self, NexusError> {
        apart(move || builder.build()).await.map(Self::from)
    }

    /// Returns the client, for code that is not async.
    #[must_use]
    pub fn as_sync(&self) -> &NexusClient {
        &self.client
    }

    /// Asks the service for news now; see [`NexusClient::sync`].
    ///
    /// # Errors
    /// Those of [`NexusClient::sync`].
    pub async fn sync(&self) -> Result<(), NexusError> {
        self.on(|client| client.sync()).await
    }

    /// Stores a secret that is a text; see [`NexusClient::set_secret`].
    ///
    /// # Errors
    /// Those of [`NexusClient::set_secret`].
    pub async fn set_secret(&self, key: &str, value: &str) -> Result<(), NexusError> {
        self.set_secret_with(key, &Secret::new(value), &WriteOptions::new()).await
    }

    /// Stores a secret that is a text, under conditions; see [`NexusClient::set_secret_with`].
    ///
    /// # Errors
    /// Those of [`NexusClient::set_secret_with`].
    pub async fn set_secret_with(
        &self,
        key: &str,
        value: &Secret,
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        let (key, value, options) = (key.to_owned(), value.clone(), options.clone());
        self.on(move |client| client.set_secret_with(&key, &value, &options)).await
    }

    /// Stores a secret that is a file; see [`NexusClient::set_secret_file`].
    ///
    /// # Errors
    /// Those of [`NexusClient::set_secret_file`].
    pub async fn set_secret_file(
        &self,
        key: &str,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        let (key, options) = (key.to_owned(), options.clone());
        let content = zeroize::Zeroizing::new(content.to_vec());
        self.on(move |client| client.set_secret_file(&key, &content, &options)).await
    }

    /// Deletes a secret with all its versions; see [`NexusClient::delete_secret`].
    ///
    /// # Errors
    /// Those of [`NexusClient::delete_secret`].
    pub async fn delete_secret(&self, key: &str) -> Result<(), NexusError> {
        let key = key.to_owned();
        self.on(move |client| client.delete_secret(&key)).await
    }

    /// Deletes one version of a secret; see [`NexusClient::delete_secret_version`].
    ///
    /// # Errors
    /// Those of [`NexusClient::delete_secret_version`].
    pub async fn delete_secret_version(&self, key: &str, version: u32) -> Result<(), NexusError> {
        let key = key.to_owned();
        self.on(move |client| client.delete_secret_version(&key, version)).await
    }

    /// Stores a config; see [`NexusClient::set_config`].
    ///
    /// # Errors
    /// Those of [`NexusClient::set_config`].
    pub async fn set_config(
        &self,
        key: &str,
        value: &Value,
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        let (key, value, options) = (key.to_owned(), value.clone(), options.clone());
        self.on(move |client| client.set_config(&key, &value, &options)).await
    }

    /// Deletes a config; see [`NexusClient::delete_config`].
    ///
    /// # Errors
    /// Those of [`NexusClient::delete_config`].
    pub async fn delete_config(&self, key: &str) -> Result<(), NexusError> {
        let key = key.to_owned();
        self.on(move |client| client.delete_config(&key)).await
    }

    /// Stores a flag; see [`NexusClient::set_flag`].
    ///
    /// # Errors
    /// Those of [`NexusClient::set_flag`].
    pub async fn set_flag(
        &self,
        key: &str,
        flag: &FlagWrite,
        options: &WriteOptions,
    ) -> Result<(), NexusError> {
        let (key, flag, options) = (key.to_owned(), flag.clone(), options.clone());
        self.on(move |client| client.set_flag(&key, &flag, &options)).await
    }

    /// Deletes a flag; see [`NexusClient::delete_flag`].
    ///
    /// # Errors
    /// Those of [`NexusClient::delete_flag`].
    pub async fn delete_flag(&self, key: &str) -> Result<(), NexusError> {
        let key = key.to_owned();
        self.on(move |client| client.delete_flag(&key)).await
    }

    /// Asks the service whether flags are on for a user; see [`NexusClient::evaluate_ab`].
    ///
    /// # Errors
    /// Those of [`NexusClient::evaluate_ab`].
    pub async fn evaluate_ab(
        &self,
        keys: &[&str],
        user_id: &str,
        attributes: &HashMap<String, String>,
    ) -> Result<HashMap<String, bool>, NexusError> {
        let attributes =
            attributes.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        self.client.shared.evaluate(keys, user_id, &attributes).await
    }

    /// Ends the client; see [`NexusClient::close`]. A callback may wait for it, too, on the thread that called it.
    pub async fn close(&self) {
        // Asked here: the thread that the call is made on would wait for the one that waits for the call.
        if !self.client.shared.may_wait_for_thread() {
            return self.client.shared.end();
        }
        let client = self.client.clone();
        // Without a thread to wait on, the client ends all the same, a moment later. It waits for no turn: what is
        // under way may be what it ends.
        let _ = apart(move || {
            client.close();
            Ok(())
        })
        .await;
    }

    async fn on<T: Send + 'static>(
        &self,
        call: impl FnOnce(&NexusClient) -> Result<T, NexusError> + Send + 'static,
    ) -> Result<T, NexusError> {
        // It is never closed; were it, the call would be made without a turn.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let client = self.client.clone();
        apart(move || {
            let _turn = turn;
            call(&client)
        })
        .await
    }
}

impl Deref for AsyncNexusClient {
    type Target = NexusClient;

    fn deref(&self) -> &NexusClient {
        &self.client
    }
}

impl From<NexusClient> for AsyncNexusClient {
    fn from(client: NexusClient) -> Self {
        Self { client, turns: Arc::new(Semaphore::new(MOST_CALLS)) }
    }
}

impl fmt::Debug for AsyncNexusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncNexusClient").field(&self.client).finish()
    }
}

/// Makes a call on a thread of its own, which goes on where nobody waits for it any more.
async fn apart<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, NexusError> + Send + 'static,
) -> Result<T, NexusError> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name("leverframe-call".to_owned()).spawn(move || {
        // Nobody waits where the future was dropped.
        let _ = tell.send(call());
    })?;
    told.await.unwrap_or_else(|_| Err(NexusError::SyncFailed("the call panicked".to_owned())))
}
