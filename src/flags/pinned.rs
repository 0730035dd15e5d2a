//! One snapshot for a whole request.

use std::{collections::HashMap, fmt, sync::Arc};

use serde_json::Value as Json;

use super::{client::Shared, product::FlagSnapshot};
use crate::{
    eval::{EnvId, EvalContext, EvalOptions, EvalResult},
    live::Loaded,
};

/// A client's snapshot, held: refreshes that land meanwhile are not seen, so flags evaluated together fit together.
///
/// Keep it for a request, not for the life of the process: it keeps its manifest in memory.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, ExdClient, Namespace};
/// # let files = [("flags/a.toml", "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\n[flag.variants]\nfive = 5\n[flag.environments._]\nvariant = \"five\"\n")];
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let client = ExdClient::builder().namespace_inline(Namespace::from_files("shop", &files).unwrap()).environment("production").build().await.unwrap();
/// let request = client.pin();
/// assert_eq!(request.int_flag("a", &EvalContext::new(), 0), 5);
/// assert_eq!(request.flag_version(), 1);
/// # });
/// ```
#[derive(Clone)]
pub struct Pinned {
    shared: Arc<Shared>,
    loaded: Arc<Loaded<FlagSnapshot>>,
    /// Its own and not the client's, which belongs to the version served now.
    environment: Option<EnvId>,
}

impl Pinned {
    pub(super) fn new(shared: Arc<Shared>, loaded: Arc<Loaded<FlagSnapshot>>) -> Self {
        let environment = loaded.snapshot.program.environment(&shared.environment);
        Self { shared, loaded, environment }
    }

    /// Returns the version that is held.
    #[must_use]
    pub fn flag_version(&self) -> u64 {
        self.loaded.version
    }

    /// Returns the snapshot that is held.
    #[must_use]
    pub fn snapshot(&self) -> &Loaded<FlagSnapshot> {
        &self.loaded
    }

    /// Evaluates a flag, with all there is to know about the result.
    #[must_use]
    pub fn eval(&self, flag: &str, context: &EvalContext) -> EvalResult {
        self.eval_with_options(flag, context, &EvalOptions::new())
    }

    /// [`Pinned::eval`] with options.
    #[must_use]
    pub fn eval_with_options(&self, flag: &str, context: &EvalContext, options: &EvalOptions) -> EvalResult {
        self.shared.eval(&self.loaded, self.environment, flag, context, options)
    }

    /// Evaluates every flag.
    #[must_use]
    pub fn eval_all(&self, context: &EvalContext) -> HashMap<String, EvalResult> {
        self.eval_all_with_options(context, &EvalOptions::new())
    }

    /// [`Pinned::eval_all`] with options.
    #[must_use]
    pub fn eval_all_with_options(
        &self,
        context: &EvalContext,
        options: &EvalOptions,
    ) -> HashMap<String, EvalResult> {
        self.shared.eval_all(&self.loaded, self.environment, context, options)
    }
}

/// Writes the typed calls, plain and with options.
macro_rules! pinned_calls {
    ($($plain:ident $with_options:ident $rust:ty, $words:literal;)+) => {
        impl Pinned {
            $(
                #[doc = concat!("Evaluates ", $words, " flag; gives `default` if that fails for any reason.")]
                #[inline]
                #[must_use]
                pub fn $plain(&self, flag: &str, context: &EvalContext, default: $rust) -> $rust {
                    self.$with_options(flag, context, default, &EvalOptions::new())
                }

                #[doc = concat!("[`Pinned::", stringify!($plain), "`] with options.")]
                #[inline]
                #[must_use]
                pub fn $with_options(
                    &self,
                    flag: &str,
                    context: &EvalContext,
                    default: $rust,
                    options: &EvalOptions,
                ) -> $rust {
                    self.shared.typed(&self.loaded, self.environment, flag, context, options).unwrap_or(default)
                }
            )+
        }
    };
}

pinned_calls! {
    bool_flag bool_flag_with_options bool, "a `boolean`";
    string_flag string_flag_with_options String, "a `string`";
    int_flag int_flag_with_options i64, "an `integer`";
    float_flag float_flag_with_options f64, "a `float`";
    json_flag json_flag_with_options Json, "a `json`";
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("version", &self.loaded.version).finish_non_exhaustive()
    }
}
