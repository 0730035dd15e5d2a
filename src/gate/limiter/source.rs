//! Limits that come from elsewhere: from a flag, or from a closure.

use std::fmt;

use serde_json::Value as Json;

use crate::{
    Error, ErrorKind, Result,
    eval::EvalContext,
    flags::{FlagValue, Namespace},
};

/// Bounds of a limit that come from a [`LimitSource`]; what is `None` is as the limiter was built.
///
/// # Examples
/// ```
/// use leverframe::{FlagValue, gate::limiter::LimitBounds};
/// let bounds = LimitBounds::from_flag(&FlagValue::Int(40))?;
/// assert_eq!(bounds, LimitBounds { max: Some(40), ..Default::default() });
/// let bounds = LimitBounds::from_flag(&serde_json::json!({"min": 4, "limit": 12}).into())?;
/// assert_eq!((bounds.min, bounds.limit), (Some(4), Some(12)));
/// assert!(LimitBounds::from_flag(&FlagValue::Bool(true)).is_err());
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written as a literal with `..Default::default()`")]
pub struct LimitBounds {
    /// The limit never falls below.
    pub min: Option<u32>,
    /// The limit never rises above.
    pub max: Option<u32>,
    /// The limit, whatever the latency, from 1 to 1,000,000. Learning goes on beside it, from what it lets in.
    pub limit: Option<u32>,
}

impl LimitBounds {
    /// Reads the value of a flag: an integer is the upper bound, an object has `min`, `max` and `limit`.
    ///
    /// # Errors
    /// `Invalid` for a flag of another type, other keys, and what is no number from 1 to 1,000,000.
    pub fn from_flag(value: &FlagValue) -> Result<Self> {
        let mut bounds = Self::default();
        match value {
            FlagValue::Int(max) => bounds.max = Some(count(*max)?),
            FlagValue::Json(json) => {
                let Json::Object(object) = &**json else {
                    return Err(refused("the value is no object"));
                };
                for (key, value) in object {
                    let place = match key.as_str() {
                        "min" => &mut bounds.min,
                        "max" => &mut bounds.max,
                        "limit" => &mut bounds.limit,
                        _ => return Err(refused("a key is none of `min`, `max` and `limit`")),
                    };
                    *place = Some(count(value.as_i64().unwrap_or(0))?);
                }
            }
            other => {
                return Err(refused("the flag has another type").with("type", other.flag_type().as_str()));
            }
        }
        Ok(bounds)
    }
}

fn count(number: i64) -> Result<u32> {
    let number = u32::try_from(number).ok().filter(|number| (1..=super::limit::MOST).contains(number));
    number.ok_or_else(|| refused("a limit is no whole number from 1 to 1,000,000"))
}

fn refused(reason: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read the limit from the flag")
        .with("reason", reason)
        .hint("give the flag an integer, or an object with `min`, `max` and `limit`")
}

/// Says what bounds a limit has now. Open: implement it, or give a closure.
///
/// Asked at most every 100 ms, on the thread of a call: it must not wait. A panic counts as an error.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use leverframe::gate::limiter::{AdaptiveLimiter, LimitBounds};
/// static MOST: AtomicU32 = AtomicU32::new(8);
/// let limiter = AdaptiveLimiter::builder()
///     .source(|| Ok(LimitBounds { max: Some(MOST.load(Ordering::Relaxed)), ..Default::default() }))
///     .build()?;
/// assert_eq!(limiter.snapshot().limit, 8);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub trait LimitSource: Send + Sync + 'static {
    /// Returns the bounds.
    ///
    /// # Errors
    /// When there are none to be had; those before then stay, and [`Snapshot`](super::Snapshot) has the error.
    fn bounds(&self) -> Result<LimitBounds>;
}

impl<F: Fn() -> Result<LimitBounds> + Send + Sync + 'static> LimitSource for F {
    fn bounds(&self) -> Result<LimitBounds> {
        self()
    }
}

/// Bounds from a flag, which ramp, target and roll back as the flag does.
///
/// An integer flag is the upper bound, a JSON flag an object with `min`, `max` and `limit`.
///
/// # Examples
/// ```
/// use leverframe::{EvalContext, Namespace, gate::limiter::{AdaptiveLimiter, FlagLimit}};
/// let files = [("flags/checkout-limit.toml", r#"
/// schema_version = "0.1"
/// [flag]
/// type = "integer"
/// [flag.variants]
/// usual = 64
/// small = 4
/// [flag.environments._]
/// variant = "usual"
/// [[flag.environments._.rules]]
/// predicate = { attribute = "host", op = "eq", value = "canary-1" }
/// variant = "small"
/// "#)];
/// let namespace = Namespace::from_files("shop", &files)?;
/// let host = EvalContext::builder().str("host", "canary-1").build();
/// let limiter = AdaptiveLimiter::builder()
///     .source(FlagLimit::of_namespace(&namespace, "production", "checkout-limit", host))
///     .build()?;
/// assert_eq!(limiter.snapshot().limit, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FlagLimit {
    flag: String,
    evaluate: Evaluate,
    fixed: bool,
}

type Evaluate = Box<dyn Fn(&str) -> Result<FlagValue> + Send + Sync>;

impl FlagLimit {
    /// Takes the bounds from a flag of a namespace.
    #[must_use]
    pub fn of_namespace(namespace: &Namespace, environment: &str, flag: &str, context: EvalContext) -> Self {
        let (namespace, environment) = (namespace.clone(), environment.to_owned());
        Self::new(flag, move |flag| {
            let result = namespace.eval(flag, &environment, &context);
            result.map(|result| result.value).map_err(|error| unknown().source(error))
        })
    }

    /// Takes an integer for the limit itself, whatever the latency, rather than for its upper bound.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    fn new(flag: &str, evaluate: impl Fn(&str) -> Result<FlagValue> + Send + Sync + 'static) -> Self {
        Self { flag: flag.to_owned(), evaluate: Box::new(evaluate), fixed: false }
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "evaluate the flag of a limit")
        .hint("check the flag's key, and that its namespace has the environment")
}

impl LimitSource for FlagLimit {
    fn bounds(&self) -> Result<LimitBounds> {
        let named = |error: Error| error.with("flag", self.flag.clone());
        let value = (self.evaluate)(&self.flag).map_err(named)?;
        let mut bounds = LimitBounds::from_flag(&value).map_err(named)?;
        if self.fixed && matches!(value, FlagValue::Int(_)) {
            bounds.limit = bounds.max.take();
        }
        Ok(bounds)
    }
}

impl fmt::Debug for FlagLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagLimit")
            .field("flag", &self.flag)
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

/// What needs the asynchronous client.
#[cfg(feature = "async-tokio")]
mod of_client {
    use super::{EvalContext, FlagLimit, unknown};
    use crate::{eval::RuleMatched, flags::ExdClient};

    impl FlagLimit {
        /// Takes the bounds from a flag of a client.
        ///
        /// # Examples
        /// ```
        /// use leverframe::{EvalContext, ExdClient, gate::limiter::{AdaptiveLimiter, FlagLimit}};
        /// fn limiter(client: &ExdClient) -> leverframe::Result<AdaptiveLimiter> {
        ///     let context = EvalContext::builder().str("region", "eu").build();
        ///     AdaptiveLimiter::builder().source(FlagLimit::of_client(client, "checkout-limit", context)).build()
        /// }
        /// ```
        #[must_use]
        pub fn of_client(client: &ExdClient, flag: &str, context: EvalContext) -> Self {
            let client = client.clone();
            Self::new(flag, move |flag| {
                let result = client.eval_sync(flag, &context);
                match result.rule_matched {
                    RuleMatched::SdkDefault | RuleMatched::AttrTypeMismatch { .. } => {
                        Err(unknown().with("evaluation", result.rule_matched.reason()))
                    }
                    _ => Ok(result.value),
                }
            })
        }
    }
}
