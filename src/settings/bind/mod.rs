//! Configs as values of one's own types, which follow what the service says.

mod de;
mod tree;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::{ArcSwap, Guard};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{NexusClient, NexusError, error::shown, model::ConfigEntry};
use crate::{error::chain, text_table::TextTable};

/// A typed value made of configs, which follows them.
///
/// Reading it is one atomic load. A change that does not fit the type is refused whole: the value stays as it was, and
/// [`last_error`](Self::last_error) says which key is in the way. Clones share the value, and keep the client going.
///
/// # Examples
/// ```
/// # #[cfg(feature = "testing")]
/// # fn main() -> Result<(), leverframe::NexusError> {
/// # use std::sync::Arc;
/// # use http::{HeaderMap, StatusCode};
/// # use leverframe::{NexusClient, testing::{Answer, ScriptedTransport}};
/// # let service = ScriptedTransport::new();
/// # let answer = |json: &'static str| service.answer("/v1/sync", Answer::Whole(StatusCode::OK, HeaderMap::new(), json.into()));
/// # answer(r#"{"synced_at":"t","configs":{"db":{"value":{"host":"a","port":1},"source":"service"}}}"#);
/// let client = NexusClient::builder().endpoint("https://settings.example.com").api_key("wxs_1")
/// #   .transport(Arc::new(service.clone()))
///     .build()?;
/// #[derive(serde::Deserialize)]
/// struct Database {
///     host: String,
///     port: u16,
/// }
/// let database = client.bind::<Database>("db")?;
/// assert_eq!((database.load().host.as_str(), database.load().port), ("a", 1));
/// # answer(r#"{"synced_at":"t","configs":{"db":{"value":{"host":"a","port":1},"source":"service"},"db.port":{"value":"x","source":"service"}}}"#);
/// client.sync()?; // brings a port that is no number
/// assert_eq!(database.load().port, 1);
/// assert!(database.last_error().is_some_and(|error| error.contains("`db.port`: it is a string, and has to be u16")));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// ```
pub struct Bound<T> {
    slot: Arc<Slot<T>>,
    _client: NexusClient,
}

struct Slot<T> {
    prefix: String,
    value: ArcSwap<T>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the value was made of.
    made_of: Value,
    error: Option<String>,
}

impl<T> Bound<T> {
    /// Returns the value, to keep.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.slot.value.load_full()
    }

    /// Returns the value, for one operation: this costs nothing but a load.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Guard<Arc<T>> {
        self.slot.value.load()
    }

    /// Returns why the configs as they are now are not what the value is made of; `None` where they are.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.slot.state().error.clone()
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Bound<T> {
    /// Makes the value of the configs as they are.
    pub(super) fn new(
        prefix: &str,
        configs: &TextTable<ConfigEntry>,
        client: NexusClient,
    ) -> Result<(Self, Arc<dyn Rebind>), NexusError> {
        let made_of = tree::under(prefix, configs);
        let value = read(prefix, &made_of)?;
        let slot = Arc::new(Slot {
            prefix: prefix.to_owned(),
            value: ArcSwap::from_pointee(value),
            state: Mutex::new(State { made_of, error: None }),
        });
        let rebind = Arc::clone(&slot) as Arc<dyn Rebind>;
        Ok((Self { slot, _client: client }, rebind))
    }
}

impl<T> Clone for Bound<T> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot), _client: self._client.clone() }
    }
}

impl<T> fmt::Debug for Bound<T> {
    /// Shows no value: it may hold what a reference to a secret was resolved to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("prefix", &self.slot.prefix)
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}

/// A value that is made again when configs change.
pub(super) trait Rebind: Send + Sync {
    fn rebind(&self, configs: &TextTable<ConfigEntry>);

    /// Learns that the type panicked over it.
    fn panicked(&self);
}

impl<T: DeserializeOwned + Send + Sync + 'static> Rebind for Slot<T> {
    fn rebind(&self, configs: &TextTable<ConfigEntry>) {
        let made_of = tree::under(&self.prefix, configs);
        {
            let mut state = self.state();
            if made_of == state.made_of {
                state.error = None;
                return;
            }
        }
        // Outside the lock, as whatever is the type's own: it may look at its value, or panic.
        match read(&self.prefix, &made_of) {
            Ok(value) => {
                *self.state() = State { made_of, error: None };
                self.value.store(Arc::new(value));
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    prefix = self.prefix,
                    error,
                    "configs do not fit their type; the value before stays"
                );
                self.state().error = Some(error);
            }
        }
    }

    fn panicked(&self) {
        let error = "its type panicked over the configs; the message went to standard error";
        self.state().error = Some(format!("failed to read the configs at `{}`: {error}", self.prefix));
    }
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        // Assigned whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one value as a type; the error names the key and the type, and never the value.
#[inline]
pub(super) fn read<'v, T: serde::Deserialize<'v>>(key: &str, value: &'v Value) -> Result<T, NexusError> {
    match T::deserialize(de::Node(value)) {
        Ok(value) => Ok(value),
        Err(fault) => Err(mismatch(key, fault)),
    }
}

/// Kept apart, so that what writes texts is not in the way of reads.
#[cold]
#[inline(never)]
fn mismatch(key: &str, fault: de::Fault) -> NexusError {
    let inner = fault.path();
    let separator = if key.is_empty() || inner.is_empty() { "" } else { "." };
    NexusError::Mismatch { key: shown(&format!("{key}{separator}{inner}")), reason: fault.reason }
}
