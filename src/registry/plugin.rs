//! What a backend says of itself.

use std::{fmt, sync::Arc};

use super::BuildContext;
use crate::{Result, config::Field};

/// A backend's constant description: what it is called, what it is for, how it is configured and made.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use leverframe::{Result, backends::clock_system::SystemClock, registry::{BuildContext, Plugin}, traits::Clock};
///
/// fn build(_: &BuildContext<'_>) -> Result<Arc<dyn Clock>> {
///     Ok(Arc::new(SystemClock::new()))
/// }
///
/// pub const PLUGIN: Plugin<dyn Clock> =
///     Plugin::new("wall_clock", env!("CARGO_PKG_NAME"), build).with_summary("The system's time under another name");
/// leverframe::register_clock!(PLUGIN);
/// assert_eq!(PLUGIN.name(), "wall_clock");
/// ```
pub struct Plugin<T: ?Sized + 'static> {
    name: &'static str,
    origin: &'static str,
    summary: &'static str,
    example: &'static str,
    fields: &'static [Field],
    schemes: &'static [&'static str],
    uses_transport: bool,
    build: Build<T>,
}

type Build<T> = fn(&BuildContext<'_>) -> Result<Arc<T>>;

impl<T: ?Sized> Plugin<T> {
    /// Describes a backend: its name (`[a-z][a-z0-9_]*`), the crate it comes from, how it is made.
    #[must_use]
    pub const fn new(name: &'static str, origin: &'static str, build: Build<T>) -> Self {
        Self {
            name,
            origin,
            summary: "",
            example: "",
            fields: &[],
            schemes: &[],
            uses_transport: false,
            build,
        }
    }

    /// Sets the one line that lists show.
    #[must_use]
    pub const fn with_summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Sets a TOML snippet that configures it.
    #[must_use]
    pub const fn with_example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    /// Sets its settings, as [`settings!`](macro@crate::settings) lists them: what its table may hold.
    #[must_use]
    pub const fn with_fields(mut self, fields: &'static [Field]) -> Self {
        self.fields = fields;
        self
    }

    /// Sets the URI schemes that a source serves. None set: its own name is the one.
    #[must_use]
    pub const fn with_schemes(mut self, schemes: &'static [&'static str]) -> Self {
        self.schemes = schemes;
        self
    }

    /// Says that a source sends its requests by the transport that the context holds.
    #[must_use]
    pub const fn with_use_of_transport(mut self) -> Self {
        self.uses_transport = true;
        self
    }

    /// Returns the name that configuration uses.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the crate it comes from.
    #[must_use]
    pub const fn origin(&self) -> &'static str {
        self.origin
    }

    /// Returns the one line that lists show.
    #[must_use]
    pub const fn summary(&self) -> &'static str {
        self.summary
    }

    /// Returns a TOML snippet that configures it.
    #[must_use]
    pub const fn example(&self) -> &'static str {
        self.example
    }

    /// Returns its settings.
    #[must_use]
    pub const fn fields(&self) -> &'static [Field] {
        self.fields
    }

    /// Returns the URI schemes that a source serves, its own name left aside.
    #[must_use]
    pub const fn schemes(&self) -> &'static [&'static str] {
        self.schemes
    }

    /// Returns true if the context must hold a transport.
    #[must_use]
    pub const fn uses_transport(&self) -> bool {
        self.uses_transport
    }

    /// Makes the backend.
    ///
    /// # Errors
    /// When its settings are wrong, or it cannot start.
    pub fn build(&self, context: &BuildContext<'_>) -> Result<Arc<T>> {
        (self.build)(context)
    }
}

impl<T: ?Sized> fmt::Debug for Plugin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
