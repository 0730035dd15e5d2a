//! A flag whose key is looked up once per manifest.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    client::Shared,
    product::FlagSnapshot,
    typed::{self, FlagData},
};
use crate::{
    eval::{EvalContext, EvalOptions, Failure, Key, PlanId},
    live::Loaded,
};

/// A flag of a client, ready to be evaluated in the hottest of paths.
///
/// Follows refreshes: after each, the first call looks the key up again. Share it freely between threads.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, ExdClient, Namespace};
/// # let files = [("flags/a.toml", "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n[flag.environments._]\nvariant = \"on\"\n")];
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let client = ExdClient::builder().namespace_inline(Namespace::from_files("shop", &files).unwrap()).environment("production").build().await.unwrap();
/// let enabled = client.flag("a", false);
/// assert!(enabled.get(&EvalContext::new()));
/// # });
/// ```
pub struct FlagHandle<T> {
    shared: Arc<Shared>,
    key: Key,
    default: T,
    /// Upper half: the version (its low bits) that the lower half belongs to; zero, which no version is, where nothing
    /// was looked up. Lower half: the plan's place. One word, so that readers never see halves of different look-ups.
    found: AtomicU64,
}

impl<T: FlagData> FlagHandle<T> {
    pub(super) fn new(shared: Arc<Shared>, key: &str, default: T) -> Self {
        Self { shared, key: Key::new(key), default, found: AtomicU64::new(0) }
    }

    /// Returns the flag's key.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_str()
    }

    /// Evaluates the flag; gives the default if that fails for any reason.
    #[inline]
    #[must_use]
    pub fn get(&self, context: &EvalContext) -> T {
        self.get_with_options(context, &EvalOptions::new())
    }

    /// [`FlagHandle::get`] with options.
    #[inline]
    #[must_use]
    pub fn get_with_options(&self, context: &EvalContext, options: &EvalOptions) -> T {
        if self.shared.dry_run {
            return self.default.clone();
        }
        let loaded = self.shared.feed.load();
        let program = &loaded.snapshot.program;
        let result = self
            .plan(&loaded)
            .and_then(|plan| program.resolve_plan(plan, context, options))
            .and_then(typed::read);
        result.unwrap_or_else(|failure| {
            self.shared.warn(&loaded, self.key.as_str(), failure);
            self.default.clone()
        })
    }

    #[inline]
    fn plan(&self, loaded: &Loaded<FlagSnapshot>) -> Result<PlanId, Failure<'static>> {
        let found = self.found.load(Ordering::Relaxed);
        if (found >> 32) as u32 == loaded.version as u32 {
            Ok(PlanId(found as u32))
        } else {
            self.look_up(loaded)
        }
    }

    #[cold]
    fn look_up(&self, loaded: &Loaded<FlagSnapshot>) -> Result<PlanId, Failure<'static>> {
        let program = &loaded.snapshot.program;
        let flag = program.place(self.key.hash(), self.key.as_str()).ok_or(Failure::UnknownFlag)?;
        let environment = program.environment(&self.shared.environment).ok_or(Failure::UnknownEnvironment)?;
        let plan = PlanId::of(flag, environment);
        self.found.store((loaded.version & 0xffff_ffff) << 32 | u64::from(plan.0), Ordering::Relaxed);
        Ok(plan)
    }
}

impl<T: FlagData> Clone for FlagHandle<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            key: self.key.clone(),
            default: self.default.clone(),
            found: AtomicU64::new(self.found.load(Ordering::Relaxed)),
        }
    }
}

impl<T> fmt::Debug for FlagHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagHandle").field("key", &self.key.as_str()).finish_non_exhaustive()
    }
}
