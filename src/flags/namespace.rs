//! The synchronous surface: a namespace that is loaded, evaluated and refreshed without any async runtime.

use std::{collections::HashMap, fmt, path::Path, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use serde_json::Value as Json;

use super::{
    load::{LoadError, LoadOptions, source_of_path},
    product::{FlagProduct, FlagSnapshot},
    refresh::RefreshHandle,
    typed::{self, FlagData},
};
use crate::{
    document::{Content, Document, Revision, Tree},
    eval::{EvalContext, EvalError, EvalOptions, EvalResult, Failure, Trace},
    live::{Feed, Loaded, Outcome, Product, Schedule, Status, Stop, block_on},
    manifest::model::Environment,
    sources::server::stream::StreamSource,
    traits::Source,
};

/// One namespace of flags, evaluated in process.
///
/// `Clone + Send + Sync`; clones share one state, so every holder sees a refresh at once. Evaluation takes no lock.
/// Needs no async runtime, and may be used on the threads of one: loading and refreshing block the calling thread.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, Namespace};
///
/// let files = [("flags/new-checkout.toml", r#"
/// schema_version = "0.1"
/// [flag]
/// type = "boolean"
/// [flag.variants]
/// on = true
/// off = false
/// [flag.environments._]
/// variant = "off"
/// [[flag.environments._.rules]]
/// predicate = { attribute = "user.country", op = "in", values = ["DE", "FR"] }
/// variant = "on"
/// "#)];
/// let namespace = Namespace::from_files("shop", &files)?;
/// let ctx = EvalContext::builder().str("user.country", "FR").build();
/// assert!(namespace.eval_bool("new-checkout", "production", &ctx).unwrap());
/// # Ok::<(), leverframe::LoadError>(())
/// ```
#[derive(Clone)]
pub struct Namespace {
    pub(super) feed: Feed<FlagProduct>,
    /// The source, where it is told of changes by an event stream.
    pub(super) stream: Option<Arc<StreamSource>>,
}

impl Namespace {
    /// Loads the directory at `path`; its name is the slug where no `namespace.toml` declares one.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `Lint` when it has lint errors.
    pub fn from_dir(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let options = LoadOptions::new();
        Self::from_source(source_of_path(path.as_ref(), options.clock()), &options)
    }

    /// Loads the archive (`.tar.gz`) at `path`; its file name gives the slug where no `namespace.toml` declares one.
    ///
    /// # Errors
    /// `Io` when it cannot be read or is no well-formed archive within the limits, `Lint` when it has lint errors.
    pub fn from_archive(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::from_dir(path)
    }

    /// Takes files from memory: pairs of path (`flags/a.toml`) and content. Such a namespace has no source, so
    /// refreshing it does nothing.
    ///
    /// # Errors
    /// `Lint` when the files have lint errors.
    pub fn from_files(
        slug: impl Into<String>,
        files: impl IntoIterator<Item: NamedFile>,
    ) -> Result<Self, LoadError> {
        let tree: Tree = files.into_iter().map(NamedFile::into_pair).collect();
        let document = Document::new(Revision::new("memory"), Content::Tree(tree));
        let product = FlagProduct::new(Some(slug.into()));
        let snapshot = product.build(document, None)?;
        Ok(Self { feed: Feed::fixed(product, snapshot, LoadOptions::new().clock()), stream: None })
    }

    /// Loads what a URI names.
    ///
    /// | scheme | what | needs |
    /// |---|---|---|
    /// | `file://` | a directory or an archive of this host | |
    /// | `https://`, `http://` | an archive on a web server | |
    /// | `git+ssh://`, `git+https://`, `git+file://` | a directory of a repository, `#ref:subdir` | feature `source-git` |
    /// | `ftps://` | an archive on a file server | feature `source-ftps` |
    ///
    /// Plug-ins add more. What the environment says of backends (`LEVERFRAME_TRANSPORT__USE`,
    /// `LEVERFRAME_SOURCE__HTTPS__BEARER_TOKEN`, …) applies.
    ///
    /// # Errors
    /// `Fetch` for a scheme that no source serves, else as [`Namespace::from_dir`].
    pub fn from_uri(uri: impl AsRef<str>) -> Result<Self, LoadError> {
        Self::from_uri_with_options(uri, &LoadOptions::new())
    }

    /// Loads what a URI names, with options.
    ///
    /// # Errors
    /// As [`Namespace::from_uri`].
    pub fn from_uri_with_options(uri: impl AsRef<str>, options: &LoadOptions) -> Result<Self, LoadError> {
        let source = options.source_of(uri.as_ref())?;
        let options = options.clone().keeping_archive_of(&*source, uri.as_ref());
        Self::from_source(source, &options)
    }

    /// Loads from a source of any kind, one's own included.
    ///
    /// # Errors
    /// Whatever the source reports, and `Lint` when what it brought has lint errors.
    pub fn from_source(source: Arc<dyn Source>, options: &LoadOptions) -> Result<Self, LoadError> {
        let feed = block_on(Feed::open_with(options.product(), source, options.clock(), options.ladder()))?;
        Ok(Self { feed, stream: None })
    }

    /// Returns the namespace's slug.
    #[must_use]
    pub fn slug(&self) -> String {
        self.feed.load().snapshot.meta.slug.clone()
    }

    /// Returns the snapshot being served: the compiled flags, their fingerprint, their version.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Loaded<FlagSnapshot>> {
        self.feed.load_full()
    }

    /// Evaluates a flag, with all there is to know about the result.
    ///
    /// An attribute of another type than the manifest infers is part of the result
    /// ([`RuleMatched::AttrTypeMismatch`](crate::RuleMatched), with the fallback of the flag's type).
    ///
    /// # Errors
    /// `UnknownFlag`, `UnknownEnvironment`.
    pub fn eval(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
    ) -> Result<EvalResult, EvalError> {
        self.eval_with_options(flag, environment, context, &EvalOptions::new())
    }

    /// [`Namespace::eval`] with options.
    ///
    /// # Errors
    /// As [`Namespace::eval`].
    pub fn eval_with_options(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<EvalResult, EvalError> {
        let loaded = self.feed.load();
        let program = &loaded.snapshot.program;
        match program.find(flag, environment) {
            Ok((id, env)) => Ok(typed::structured(&loaded, id, env, context, options)),
            Err(failure) => Err(program.error(failure, flag, environment)),
        }
    }

    /// Evaluates every flag.
    ///
    /// # Errors
    /// `UnknownEnvironment`, naming no flag.
    pub fn eval_all(
        &self,
        environment: &str,
        context: &EvalContext,
    ) -> Result<HashMap<String, EvalResult>, EvalError> {
        self.eval_all_with_options(environment, context, &EvalOptions::new())
    }

    /// [`Namespace::eval_all`] with options.
    ///
    /// # Errors
    /// As [`Namespace::eval_all`].
    pub fn eval_all_with_options(
        &self,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<HashMap<String, EvalResult>, EvalError> {
        let loaded = self.feed.load();
        let program = &loaded.snapshot.program;
        let env = program
            .environment_named(environment)
            .ok_or_else(|| program.error(Failure::UnknownEnvironment, "*", environment))?;
        Ok(typed::structured_all(&loaded, env, context, options))
    }

    /// Evaluates a flag and records each step; see [`Trace`].
    ///
    /// # Errors
    /// `UnknownFlag`, `UnknownEnvironment`.
    pub fn trace(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<String, EvalError> {
        let loaded = self.feed.load();
        let trace: Trace<'_> = loaded.snapshot.program.trace(flag, environment, context, options)?;
        Ok(trace.to_string())
    }

    /// Loads the source again, whether or not it changed, and swaps the result in.
    ///
    /// # Errors
    /// What loading can report, and `SlugMismatch`; what was served before stays.
    pub fn refresh(&self) -> Result<(), LoadError> {
        block_on(self.feed.refresh())?;
        self.settle();
        Ok(())
    }

    /// Asks the source for news and swaps them in, as the background refresh does: what did not change is neither
    /// transferred, where the source can tell, nor checked again.
    ///
    /// # Errors
    /// As [`Namespace::refresh`].
    pub fn poll(&self) -> Result<Outcome, LoadError> {
        block_on(self.poll_here())
    }

    /// [`Namespace::poll`] for a thread that has its own `block_on`.
    pub(super) async fn poll_here(&self) -> Result<Outcome, LoadError> {
        let outcome = self.feed.poll().await?;
        self.settle();
        Ok(outcome)
    }

    /// Lets the source know what is served after a load that went well.
    pub(super) fn settle(&self) {
        if let Some(stream) = &self.stream
            && let Some(served) = self.feed.status().revision
        {
            stream.settle(&served);
        }
    }

    /// Starts a thread that looks at the source every `interval`, and at once when the source says that it changed.
    ///
    /// Failures are found in [`Namespace::last_refresh_error`] and retried; the thread ends when the handle is
    /// stopped or dropped.
    #[must_use = "dropping the handle stops the refresh"]
    pub fn start_periodic_refresh(&self, interval: Duration) -> RefreshHandle {
        self.start_refresh(Schedule::every(interval))
    }

    pub(crate) fn start_refresh(&self, schedule: Schedule) -> RefreshHandle {
        let stop = Stop::new();
        let namespace = self.clone();
        let seen = stop.clone();
        let run = move || {
            block_on(namespace.feed.run(schedule, &seen, |_| async { namespace.poll_here().await }));
        };
        RefreshHandle::new(thread::Builder::new().name("leverframe-refresh".to_owned()).spawn(run), stop)
    }

    /// Returns the version being served: 1 after the first load, one more for each refresh that swapped.
    #[must_use]
    pub fn flag_version(&self) -> u64 {
        self.feed.version()
    }

    /// Returns why the most recent refresh failed; `None` if it did not, or none has run.
    #[must_use]
    pub fn last_refresh_error(&self) -> Option<String> {
        self.feed.status().last_error
    }

    /// Returns version, revision, staleness and failures in one piece.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = self.feed.status();
        status.stream = self.stream.as_ref().map(|stream| stream.status());
        status
    }

    /// Waits until more than `seen` refreshes have settled, well or not, and returns how many have; see
    /// [`Namespace::refreshes`].
    pub fn wait_for_refresh(&self, seen: u64) -> u64 {
        block_on(self.feed.settled_beyond(seen))
    }

    /// Returns how many refreshes have settled, well or not.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.feed.settled()
    }

    /// Returns what `[namespace.environments.<env>]` declares; `None` where the environment is not declared.
    #[must_use]
    pub fn environment_meta(&self, environment: &str) -> Option<Environment> {
        self.feed.load().snapshot.meta.environment(environment).cloned()
    }

    /// Returns whether clients without a secret may evaluate in the environment; `None` where it is not declared.
    #[must_use]
    pub fn public_evaluate(&self, environment: &str) -> Option<bool> {
        self.feed.load().snapshot.meta.environment(environment).map(|e| e.public_evaluate)
    }

    fn typed<T: FlagData>(
        &self,
        flag: &str,
        environment: &str,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> Result<T, EvalError> {
        let loaded = self.feed.load();
        let program = &loaded.snapshot.program;
        program
            .find(flag, environment)
            .and_then(|(id, env)| program.resolve(id, env, context, options))
            .and_then(typed::read)
            .map_err(|failure| program.error(failure, flag, environment))
    }
}

/// Writes the strict entry points: one plain and one with options for each flag type.
macro_rules! strict {
    ($($plain:ident $with_options:ident $rust:ty, $words:literal;)+) => {
        impl Namespace {
            $(
                #[doc = concat!("Evaluates ", $words, " flag, strictly.")]
                ///
                /// # Errors
                /// `UnknownFlag`, `UnknownEnvironment`, `FlagTypeMismatch` when the flag declares another type, and
                /// `AttrTypeMismatch` when the context disagrees with the types that the manifest infers.
                #[inline]
                pub fn $plain(&self, flag: &str, environment: &str, context: &EvalContext) -> Result<$rust, EvalError> {
                    self.typed(flag, environment, context, &EvalOptions::new())
                }

                #[doc = concat!("[`Namespace::", stringify!($plain), "`] with options.")]
                ///
                /// # Errors
                #[doc = concat!("As [`Namespace::", stringify!($plain), "`].")]
                #[inline]
                pub fn $with_options(
                    &self,
                    flag: &str,
                    environment: &str,
                    context: &EvalContext,
                    options: &EvalOptions,
                ) -> Result<$rust, EvalError> {
                    self.typed(flag, environment, context, options)
                }
            )+
        }
    };
}

strict! {
    eval_bool eval_bool_with_options bool, "a `boolean`";
    eval_string eval_string_with_options String, "a `string`";
    eval_i64 eval_i64_with_options i64, "an `integer`";
    eval_f64 eval_f64_with_options f64, "a `float`";
    eval_json eval_json_with_options Json, "a `json`";
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.feed.load();
        f.debug_struct("Namespace")
            .field("slug", &loaded.snapshot.meta.slug)
            .field("flags", &loaded.snapshot.program.len())
            .field("version", &loaded.version)
            .finish_non_exhaustive()
    }
}

/// A path with the content of its file, owned or borrowed. Sealed: pairs, and references to pairs.
///
/// # Examples
/// ```
/// fn count(files: impl IntoIterator<Item: leverframe::flags::NamedFile>) -> usize {
///     files.into_iter().count()
/// }
/// let map = std::collections::BTreeMap::from([("flags/a.toml".to_owned(), "…".to_owned())]);
/// assert_eq!(count(&map) + count([("flags/b.toml", "…")]), 2);
/// ```
pub trait NamedFile: named_file::Sealed {
    #[doc(hidden)]
    fn into_pair(self) -> (String, Bytes);
}

mod named_file {
    #[expect(unnameable_types, reason = "sealed: only this crate implements it")]
    pub trait Sealed {}
    impl<P: AsRef<str>, C: AsRef<[u8]>> Sealed for (P, C) {}
    impl<P: AsRef<str>, C: AsRef<[u8]>> Sealed for &(P, C) {}
}

impl<P: AsRef<str>, C: AsRef<[u8]>> NamedFile for (P, C) {
    fn into_pair(self) -> (String, Bytes) {
        (self.0.as_ref().to_owned(), Bytes::copy_from_slice(self.1.as_ref()))
    }
}

impl<P: AsRef<str>, C: AsRef<[u8]>> NamedFile for &(P, C) {
    fn into_pair(self) -> (String, Bytes) {
        (self.0.as_ref().to_owned(), Bytes::copy_from_slice(self.1.as_ref()))
    }
}
