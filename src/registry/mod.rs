//! Which backends there are, by kind and name.
//!
//! A backend is announced by a constant [`Plugin`] and one line, `register_source!(PLUGIN)` or a sister of it. A
//! [`Registry`] is a value: [`Registry::discover`] collects what is linked in, [`Registry::empty`] starts one by
//! hand; there is no global. Registrations of a crate that the final binary never names are left out by the linker:
//! write `use that_crate as _;` in `main.rs`.

mod context;
mod kind;
mod plugin;

use std::{collections::BTreeMap, fmt};

#[doc(hidden)]
pub use inventory as __inventory;

pub use self::{context::BuildContext, kind::Kind, plugin::Plugin};
use crate::{
    Error, ErrorKind, Result,
    manifest::lint::findings::did_you_mean,
    traits::{CacheStore, Clock, Source, TelemetrySink, Transport},
};

/// The backends of one process, by kind and name.
///
/// # Examples
/// ```
/// use leverframe::{registry::Registry, traits::Source};
/// let registry = Registry::discover()?;
/// assert_eq!(registry.find::<dyn Source>("file")?.name(), "file");
/// let error = registry.find::<dyn Source>("flie").unwrap_err();
/// assert_eq!(error.hint_text(), Some("did you mean `file`?"));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    pub(crate) sources: Plugins<dyn Source>,
    pub(crate) transports: Plugins<dyn Transport>,
    pub(crate) caches: Plugins<dyn CacheStore>,
    pub(crate) sinks: Plugins<dyn TelemetrySink>,
    pub(crate) clocks: Plugins<dyn Clock>,
}

pub(crate) type Plugins<T> = BTreeMap<&'static str, &'static Plugin<T>>;

impl Registry {
    /// Makes a registry without backends.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Collects every backend that is linked into the process.
    ///
    /// # Errors
    /// `Config` when two backends of a kind have one name, or a name is malformed; both origins are named.
    pub fn discover() -> Result<Self> {
        let mut registry = Self::empty();
        registry.collect::<dyn Source>()?;
        registry.collect::<dyn Transport>()?;
        registry.collect::<dyn CacheStore>()?;
        registry.collect::<dyn TelemetrySink>()?;
        registry.collect::<dyn Clock>()?;
        Ok(registry)
    }

    /// Adds a backend, for registries built by hand.
    ///
    /// # Errors
    /// `Config` when the name is taken or malformed.
    pub fn with<T: Kind + ?Sized>(mut self, plugin: &'static Plugin<T>) -> Result<Self> {
        self.add(plugin)?;
        Ok(self)
    }

    /// Returns the backend of that kind and name.
    ///
    /// # Errors
    /// `Config` when there is none: the error lists those there are, and the nearest.
    pub fn find<T: Kind + ?Sized>(&self, name: &str) -> Result<&'static Plugin<T>> {
        let plugins = T::plugins(self);
        plugins.get(name).copied().ok_or_else(|| {
            let available: Vec<&str> = plugins.keys().copied().collect();
            let named = left_out(name).map(str::to_owned);
            let hint = named.or_else(|| did_you_mean(name, available.iter().copied())).unwrap_or_else(|| {
                "if it comes from a crate of its own, add `use that_crate as _;` to main.rs".to_owned()
            });
            Error::new(ErrorKind::Config, format!("choose a {}", T::WORD))
                .with("asked", name.escape_debug())
                .with(
                    "available",
                    if available.is_empty() { "none".to_owned() } else { available.join(", ") },
                )
                .hint(hint)
        })
    }

    /// Returns the source that serves a URI's scheme.
    ///
    /// # Errors
    /// `Invalid` for what is no URI, `Unsupported` for a scheme that no source serves: the error lists those served,
    /// and the feature that brings the one asked for, if it is left out of this build.
    pub fn source_of(&self, uri: &str) -> Result<&'static Plugin<dyn Source>> {
        let Some((scheme, _)) = uri.split_once("://") else {
            // The text is not shown: a mistyped URI may hold a password.
            return Err(Error::new(ErrorKind::Invalid, "read the source's URI")
                .with("reason", "it has no `scheme://`")
                .hint("write it as `https://host/path`, or `file:///absolute/path`"));
        };
        let serves = |plugin: &Plugin<dyn Source>| match plugin.schemes() {
            [] => plugin.name() == scheme,
            schemes => schemes.contains(&scheme),
        };
        self.of::<dyn Source>().find(|plugin| serves(plugin)).ok_or_else(|| {
            let mut served: Vec<&str> = self
                .of::<dyn Source>()
                .flat_map(|plugin| match plugin.schemes() {
                    [] => vec![plugin.name()],
                    schemes => schemes.to_vec(),
                })
                .collect();
            served.sort_unstable();
            let hint =
                left_out(scheme).map(str::to_owned).or_else(|| did_you_mean(scheme, served.iter().copied()));
            let error = Error::new(ErrorKind::Unsupported, "choose a source for the URI")
                .with("scheme", scheme.escape_debug())
                .with("available", served.join(", "));
            error.hint(hint.unwrap_or_else(|| "use one of the schemes that are available".to_owned()))
        })
    }

    /// Returns the backends of a kind in order of their names.
    pub fn of<T: Kind + ?Sized>(&self) -> impl Iterator<Item = &'static Plugin<T>> {
        T::plugins(self).values().copied()
    }

    /// Returns kind, name, summary and origin of every backend, in order of kinds and names.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let mut list = Vec::new();
        self.list_of::<dyn Source>(&mut list);
        self.list_of::<dyn Transport>(&mut list);
        self.list_of::<dyn CacheStore>(&mut list);
        self.list_of::<dyn TelemetrySink>(&mut list);
        self.list_of::<dyn Clock>(&mut list);
        list
    }

    fn list_of<T: Kind + ?Sized>(&self, list: &mut Vec<Listed>) {
        list.extend(self.of::<T>().map(|plugin| Listed {
            kind: T::WORD,
            name: plugin.name(),
            summary: plugin.summary(),
            origin: plugin.origin(),
            example: plugin.example(),
        }));
    }

    fn collect<T: Kind + ?Sized>(&mut self) -> Result<()> {
        T::linked().into_iter().try_for_each(|plugin| self.add(plugin))
    }

    fn add<T: Kind + ?Sized>(&mut self, plugin: &'static Plugin<T>) -> Result<()> {
        let refuse = |operation: &'static str| {
            Error::new(ErrorKind::Config, operation)
                .with("kind", T::WORD)
                .with("name", plugin.name().escape_debug())
        };
        if !is_backend_name(plugin.name()) {
            return Err(refuse("register a backend")
                .with("origin", plugin.origin())
                .hint("a name is `[a-z][a-z0-9_]*` without `__`, so that it can be a key and an environment variable"));
        }
        if let Some(taken) = T::plugins(self).get(plugin.name()) {
            return Err(refuse("register two backends of one name")
                .with("origins", format!("{}, {}", taken.origin(), plugin.origin()))
                .hint("link only one of the two crates, or build the registry by hand"));
        }
        T::plugins_mut(self).insert(plugin.name(), plugin);
        Ok(())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().iter().map(|l| format!("{} {}", l.kind, l.name))).finish()
    }
}

/// A line of [`Registry::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The kind's word: `source`, `transport`, `cache`, `sink`, `clock`.
    pub kind: &'static str,
    /// The name that configuration uses.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// The crate it comes from.
    pub origin: &'static str,
    /// A TOML snippet.
    pub example: &'static str,
}

fn is_backend_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.contains("__")
}

/// Returns what to do about a built-in name or scheme that this build has left out.
fn left_out(name: &str) -> Option<&'static str> {
    const FEATURES: &[(&[&str], bool, &str)] = &[
        (&["reqwest"], cfg!(feature = "http-in-process"), "build with the cargo feature `http-in-process`"),
        (&["curl"], cfg!(feature = "transport-curl"), "build with the cargo feature `transport-curl`"),
        (
            &["git", "git+ssh", "git+https", "git+file"],
            cfg!(feature = "source-git"),
            "build with the cargo feature `source-git`",
        ),
        (&["ftps"], cfg!(feature = "source-ftps"), "build with the cargo feature `source-ftps`"),
    ];
    let (_, _, hint) = FEATURES.iter().find(|(names, built, _)| !built && names.contains(&name))?;
    Some(hint)
}
