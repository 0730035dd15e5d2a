//! The asynchronous surface: a client that is built once, evaluated everywhere, and refreshed in the background.

mod builder;
mod warnings;

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value as Json;
use tokio::task::{self, JoinHandle};

pub use self::builder::ExdClientBuilder;
pub(super) use self::builder::{SAFETY_NET_INTERVAL, load};
use self::warnings::Warnings;
use super::{
    error::ExdError,
    handle::FlagHandle,
    namespace::Namespace,
    pinned::Pinned,
    product::{FlagProduct, FlagSnapshot},
    typed::{self, FlagData},
};
use crate::{
    eval::{EnvId, EvalContext, EvalOptions, EvalResult, Failure, Key, RuleMatched, VariantKey},
    live::{Feed, Loaded, Status, Stop, block_on},
    manifest::model::FlagValue,
    sources::server::stream::StreamSource,
    text_table::hash_key,
    traits::Source,
};

/// A client of one namespace in one environment.
///
/// `Clone + Send + Sync`; clones share everything. Evaluation never fails, panics, blocks or waits: whatever goes
/// wrong, the caller's default comes back, the structured result says so, and a warning is logged once per flag and
/// reason a minute. The `async` calls are ready at once; each has a twin that needs no `await`.
///
/// Cancellation: dropping the future of any call leaves the client as it was. Dropping the last clone, or
/// [`ExdClient::close`], ends the background refresh; evaluation goes on with what was loaded last.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, ExdClient, Namespace};
/// # let files = [("flags/new-checkout.toml", "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n[flag.environments._]\nvariant = \"on\"\n")];
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let client = ExdClient::builder()
///     .namespace_inline(Namespace::from_files("shop", &files)?)
///     .environment("production")
///     .build()
///     .await?;
/// let ctx = EvalContext::builder().str("user.id", "u-1").build();
/// assert!(client.bool_flag("new-checkout", &ctx, false).await);
/// assert!(!client.bool_flag_sync("no-such-flag", &ctx, false));
/// client.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ExdClient {
    pub(super) shared: Arc<Shared>,
}

/// What the clones of a client, its handles and its pinned views have in common.
pub(super) struct Shared {
    pub(super) feed: Feed<FlagProduct>,
    stream: Option<Arc<StreamSource>>,
    pub(super) environment: Key,
    /// The environment's place in the program last served; laid out as `FlagHandle::found` is.
    found: AtomicU64,
    pub(super) dry_run: bool,
    warnings: Warnings,
    stop: Stop,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl ExdClient {
    /// Starts a client.
    pub fn builder() -> ExdClientBuilder {
        ExdClientBuilder::new()
    }

    /// Makes a client of an archive on disk, with no background refresh.
    ///
    /// # Errors
    /// `Load` when the archive cannot be read or has lint errors.
    pub fn from_manifest_file(
        path: impl AsRef<Path>,
        environment: impl AsRef<str>,
    ) -> Result<Self, ExdError> {
        let namespace = Namespace::from_archive(path).map_err(ExdError::Load)?;
        Ok(Self::assemble(namespace, environment.as_ref(), false))
    }

    /// Makes a client over a namespace that is refreshed elsewhere; needs no runtime.
    pub(crate) fn over(namespace: &Namespace, environment: &str, dry_run: bool) -> Self {
        Self::assemble(namespace.clone(), environment, dry_run)
    }

    pub(super) fn assemble(namespace: Namespace, environment: &str, dry_run: bool) -> Self {
        let Namespace { feed, stream } = namespace;
        let client = Self {
            shared: Arc::new(Shared {
                feed,
                stream,
                environment: Key::new(environment),
                found: AtomicU64::new(0),
                dry_run,
                warnings: Warnings::new(),
                stop: Stop::new(),
                task: Mutex::new(None),
            }),
        };
        if client.shared.feed.load().snapshot.program.environment_named(environment).is_none() {
            tracing::warn!(
                environment,
                "the namespace does not declare this environment: every evaluation gives its default"
            );
        }
        client
    }

    /// Evaluates a flag, with all there is to know about the result.
    pub async fn eval(&self, flag: &str, context: &EvalContext) -> EvalResult {
        self.eval_sync(flag, context)
    }

    /// [`ExdClient::eval`] with options.
    pub async fn eval_with_options(
        &self,
        flag: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> EvalResult {
        self.eval_with_options_sync(flag, context, options)
    }

    /// [`ExdClient::eval`] without `await`.
    #[must_use]
    pub fn eval_sync(&self, flag: &str, context: &EvalContext) -> EvalResult {
        self.eval_with_options_sync(flag, context, &EvalOptions::new())
    }

    /// [`ExdClient::eval_with_options`] without `await`.
    #[must_use]
    pub fn eval_with_options_sync(
        &self,
        flag: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> EvalResult {
        let loaded = self.shared.feed.load();
        self.shared.eval(&loaded, self.shared.environment_id(&loaded), flag, context, options)
    }

    /// Evaluates every flag; empty in dry-run mode and where the environment is not declared.
    pub async fn eval_all(&self, context: &EvalContext) -> HashMap<String, EvalResult> {
        self.eval_all_sync(context)
    }

    /// [`ExdClient::eval_all`] with options.
    pub async fn eval_all_with_options(
        &self,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> HashMap<String, EvalResult> {
        self.eval_all_with_options_sync(context, options)
    }

    /// [`ExdClient::eval_all`] without `await`.
    #[must_use]
    pub fn eval_all_sync(&self, context: &EvalContext) -> HashMap<String, EvalResult> {
        self.eval_all_with_options_sync(context, &EvalOptions::new())
    }

    /// [`ExdClient::eval_all_with_options`] without `await`.
    #[must_use]
    pub fn eval_all_with_options_sync(
        &self,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> HashMap<String, EvalResult> {
        let loaded = self.shared.feed.load();
        self.shared.eval_all(&loaded, self.shared.environment_id(&loaded), context, options)
    }

    /// Makes a handle that looks the flag up once per manifest instead of once per call.
    ///
    /// The flag need not exist yet: until it does, and whenever evaluation fails, the handle gives `default`.
    #[must_use]
    pub fn flag<T: FlagData>(&self, key: &str, default: T) -> FlagHandle<T> {
        FlagHandle::new(Arc::clone(&self.shared), key, default)
    }

    /// Holds the present snapshot, so that all evaluations of one request see the same manifest.
    #[must_use]
    pub fn pin(&self) -> Pinned {
        Pinned::new(Arc::clone(&self.shared), self.shared.feed.load_full())
    }

    /// Returns the environment that the client evaluates in.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.shared.environment.as_str()
    }

    /// Returns the version being served: 1 after the first load, one more for each refresh that swapped.
    #[must_use]
    pub fn flag_version(&self) -> u64 {
        self.shared.feed.version()
    }

    /// Returns why the most recent refresh failed; `None` if it did not, or none has run.
    #[must_use]
    pub fn last_refresh_error(&self) -> Option<String> {
        self.shared.feed.status().last_error
    }

    /// Returns version, revision, staleness and failures in one piece.
    #[must_use]
    pub fn status(&self) -> Status {
        self.namespace().status()
    }

    /// Returns the namespace that the client evaluates; it is refreshed with the client.
    #[must_use]
    pub(super) fn namespace(&self) -> Namespace {
        Namespace { feed: self.shared.feed.clone(), stream: self.shared.stream.clone() }
    }

    /// Returns the snapshot being served: the compiled flags, their fingerprint, their version.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Loaded<FlagSnapshot>> {
        self.shared.feed.load_full()
    }

    /// Returns how many background refreshes have settled, well or not.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.shared.feed.settled()
    }

    /// Waits until more than `seen` refreshes have settled, and returns how many have.
    pub async fn wait_for_refresh(&self, seen: u64) -> u64 {
        self.shared.feed.settled_beyond(seen).await
    }

    /// Ends the background refresh and waits for it; evaluation goes on with what was loaded last.
    ///
    /// Closing again, or closing another clone, does nothing more.
    ///
    /// # Errors
    /// `TaskJoin` when the refresh task panicked.
    pub async fn close(&self) -> Result<(), ExdError> {
        self.shared.stop.stop();
        let task = self.shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without a task the refresh is somebody else's, and so is the source.
        let Some(task) = task else { return Ok(()) };
        let ended = task.await;
        if let Some(stream) = self.shared.stream.clone() {
            // It lets go of a working tree, whose files it may have to remove.
            let closed = task::spawn_blocking(move || block_on(stream.close())).await;
            // Closing a stream source fails at nothing.
            let _ = closed.map_err(|e| ExdError::TaskJoin(e.to_string()))?;
        }
        ended.map_err(|e| ExdError::TaskJoin(e.to_string()))
    }
}

impl Shared {
    /// Finds the environment's place, looking it up once per manifest.
    #[inline]
    pub(super) fn environment_id(&self, loaded: &Loaded<FlagSnapshot>) -> Option<EnvId> {
        let found = self.found.load(Ordering::Relaxed);
        match (found as u32).checked_sub(1) {
            Some(environment) if (found >> 32) as u32 == loaded.version as u32 => Some(EnvId(environment)),
            _ => self.look_up_environment(loaded),
        }
    }

    #[cold]
    fn look_up_environment(&self, loaded: &Loaded<FlagSnapshot>) -> Option<EnvId> {
        let environment = loaded.snapshot.program.environment(&self.environment)?;
        self.found
            .store((loaded.version & 0xffff_ffff) << 32 | u64::from(environment.0 + 1), Ordering::Relaxed);
        Some(environment)
    }

    /// Evaluates a flag of `loaded` and reads it as `T`; any failure becomes a warning and `None`.
    #[inline]
    pub(super) fn typed<T: FlagData>(
        &self,
        loaded: &Loaded<FlagSnapshot>,
        environment: Option<EnvId>,
        flag: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Option<T> {
        if self.dry_run {
            return None;
        }
        let program = &loaded.snapshot.program;
        let result = match (program.flag(hash_key(flag), flag), environment) {
            (Some(id), Some(env)) => program.resolve(id, env, context, options).and_then(typed::read),
            (None, _) => Err(Failure::UnknownFlag),
            (_, None) => Err(Failure::UnknownEnvironment),
        };
        result.map_err(|failure| self.warn(loaded, flag, failure)).ok()
    }

    pub(super) fn eval(
        &self,
        loaded: &Loaded<FlagSnapshot>,
        environment: Option<EnvId>,
        flag: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> EvalResult {
        let program = &loaded.snapshot.program;
        if !self.dry_run {
            match (program.flag(hash_key(flag), flag), environment) {
                (Some(id), Some(env)) => {
                    let result = typed::structured(loaded, id, env, context, options);
                    if let RuleMatched::AttrTypeMismatch { .. } = result.rule_matched
                        && let Err(failure) = program.resolve(id, env, context, options)
                    {
                        self.warn(loaded, flag, failure);
                    }
                    return result;
                }
                (None, _) => self.warn(loaded, flag, Failure::UnknownFlag),
                (_, None) => self.warn(loaded, flag, Failure::UnknownEnvironment),
            }
        }
        EvalResult {
            value: FlagValue::from(Json::Null),
            variant_key: VariantKey::default(),
            rule_matched: RuleMatched::SdkDefault,
            flag_version: loaded.version,
        }
    }

    pub(super) fn eval_all(
        &self,
        loaded: &Loaded<FlagSnapshot>,
        environment: Option<EnvId>,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> HashMap<String, EvalResult> {
        match environment {
            Some(environment) if !self.dry_run => {
                typed::structured_all(loaded, environment, context, options)
            }
            _ => HashMap::new(),
        }
    }

    /// Logs a failure, unless the same one was logged less than a minute ago.
    #[cold]
    pub(super) fn warn(&self, loaded: &Loaded<FlagSnapshot>, flag: &str, failure: Failure<'_>) {
        if self.warnings.admits(flag, failure.reason(), self.feed.clock().now()) {
            let error = loaded.snapshot.program.error(failure, flag, self.environment.as_str());
            tracing::warn!(
                flag,
                environment = self.environment.as_str(),
                reason = failure.reason(),
                flag_version = loaded.version,
                "{error}; the default is used"
            );
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl fmt::Debug for ExdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.shared.feed.load();
        f.debug_struct("ExdClient")
            .field("namespace", &loaded.snapshot.meta.slug)
            .field("environment", &self.shared.environment.as_str())
            .field("version", &loaded.version)
            .field("dry_run", &self.shared.dry_run)
            .finish_non_exhaustive()
    }
}

/// Writes the four forms of each typed call: async and not, plain and with options.
macro_rules! typed_calls {
    ($($plain:ident $with_options:ident $plain_sync:ident $with_options_sync:ident $rust:ty, $words:literal;)+) => {
        impl ExdClient {
            $(
                #[doc = concat!("Evaluates ", $words, " flag; gives `default` if that fails for any reason.")]
                pub async fn $plain(&self, flag: &str, context: &EvalContext, default: $rust) -> $rust {
                    self.$plain_sync(flag, context, default)
                }

                #[doc = concat!("[`ExdClient::", stringify!($plain), "`] with options.")]
                pub async fn $with_options(
                    &self,
                    flag: &str,
                    context: &EvalContext,
                    default: $rust,
                    options: &EvalOptions,
                ) -> $rust {
                    self.$with_options_sync(flag, context, default, options)
                }

                #[doc = concat!("[`ExdClient::", stringify!($plain), "`] without `await`.")]
                #[inline]
                #[must_use]
                pub fn $plain_sync(&self, flag: &str, context: &EvalContext, default: $rust) -> $rust {
                    self.$with_options_sync(flag, context, default, &EvalOptions::new())
                }

                #[doc = concat!("[`ExdClient::", stringify!($with_options), "`] without `await`.")]
                #[inline]
                #[must_use]
                pub fn $with_options_sync(
                    &self,
                    flag: &str,
                    context: &EvalContext,
                    default: $rust,
                    options: &EvalOptions,
                ) -> $rust {
                    let loaded = self.shared.feed.load();
                    self.shared
                        .typed(&loaded, self.shared.environment_id(&loaded), flag, context, options)
                        .unwrap_or(default)
                }
            )+
        }
    };
}

typed_calls! {
    bool_flag bool_flag_with_options bool_flag_sync bool_flag_with_options_sync bool, "a `boolean`";
    string_flag string_flag_with_options string_flag_sync string_flag_with_options_sync String, "a `string`";
    int_flag int_flag_with_options int_flag_sync int_flag_with_options_sync i64, "an `integer`";
    float_flag float_flag_with_options float_flag_sync float_flag_with_options_sync f64, "a `float`";
    json_flag json_flag_with_options json_flag_sync json_flag_with_options_sync Json, "a `json`";
}
