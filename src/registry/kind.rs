//! The kinds of backends, and the lines that register one.

use super::{Plugin, Plugins, Registry};
use crate::traits::{CacheStore, Clock, Source, TelemetrySink, Transport};

mod sealed {
    #[expect(unnameable_types, reason = "sealed: only this crate implements it")]
    pub trait Sealed {}
}

/// A kind of backend: one of the five traits as a trait object. Sealed: the framework fixes the set.
///
/// # Examples
/// ```
/// use leverframe::{registry::Kind, traits::Source};
/// assert_eq!(<dyn Source as Kind>::WORD, "source");
/// ```
pub trait Kind: sealed::Sealed + 'static {
    /// The word of messages and lists, and the configuration table of the kind's backends.
    const WORD: &'static str;

    #[doc(hidden)]
    fn linked() -> Vec<&'static Plugin<Self>>;

    #[doc(hidden)]
    fn plugins(registry: &Registry) -> &Plugins<Self>;

    #[doc(hidden)]
    fn plugins_mut(registry: &mut Registry) -> &mut Plugins<Self>;
}

macro_rules! kinds {
    ($($kind:ty, $word:literal, $field:ident;)+) => {
        $(
            inventory::collect!(Plugin<$kind>);

            impl sealed::Sealed for $kind {}

            impl Kind for $kind {
                const WORD: &'static str = $word;

                fn linked() -> Vec<&'static Plugin<Self>> {
                    // The linker promises no order.
                    let mut linked: Vec<_> = inventory::iter::<Plugin<$kind>>.into_iter().collect();
                    linked.sort_by_key(|plugin| (plugin.name(), plugin.origin()));
                    linked
                }

                fn plugins(registry: &Registry) -> &Plugins<Self> {
                    &registry.$field
                }

                fn plugins_mut(registry: &mut Registry) -> &mut Plugins<Self> {
                    &mut registry.$field
                }
            }
        )+
    };
}

kinds! {
    dyn Source, "source", sources;
    dyn Transport, "transport", transports;
    dyn CacheStore, "cache", caches;
    dyn TelemetrySink, "telemetry", sinks;
    dyn Clock, "clock", clocks;
}

/// Registers a source: `register_source!(PLUGIN)` with a constant [`Plugin`].
#[macro_export]
macro_rules! register_source {
    ($plugin:expr) => {
        $crate::registry::__inventory::submit! { $plugin }
    };
}

/// Registers a transport: `register_transport!(PLUGIN)` with a constant [`Plugin`].
#[macro_export]
macro_rules! register_transport {
    ($plugin:expr) => {
        $crate::registry::__inventory::submit! { $plugin }
    };
}

/// Registers a cache: `register_cache!(PLUGIN)` with a constant [`Plugin`].
#[macro_export]
macro_rules! register_cache {
    ($plugin:expr) => {
        $crate::registry::__inventory::submit! { $plugin }
    };
}

/// Registers a telemetry sink: `register_sink!(PLUGIN)` with a constant [`Plugin`].
#[macro_export]
macro_rules! register_sink {
    ($plugin:expr) => {
        $crate::registry::__inventory::submit! { $plugin }
    };
}

/// Registers a clock: `register_clock!(PLUGIN)` with a constant [`Plugin`].
#[macro_export]
macro_rules! register_clock {
    ($plugin:expr) => {
        $crate::registry::__inventory::submit! { $plugin }
    };
}
