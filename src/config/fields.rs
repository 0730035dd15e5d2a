//! Settings as data: what a table may hold, for checks, for `explain` and for the reference.

/// The type of a setting.
///
/// # Examples
/// ```
/// use leverframe::config::FieldKind;
/// assert_eq!(FieldKind::Secret.as_str(), "secret string");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldKind {
    /// `true` or `false`.
    Boolean,
    /// An integer.
    Integer,
    /// A list of strings.
    List,
    /// A file or directory.
    Path,
    /// A string that is shown nowhere.
    Secret,
    /// A string.
    String,
}

impl FieldKind {
    /// Returns the words of the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::List => "list of strings",
            Self::Path => "path",
            Self::Secret => "secret string",
            Self::String => "string",
        }
    }
}

/// One setting of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by `settings!`, which must stay able to name every field"
)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// The type.
    pub kind: FieldKind,
    /// The default, as Rust writes it.
    pub default: &'static str,
    /// What it does: the field's documentation.
    pub doc: &'static [&'static str],
}

impl Field {
    /// Returns the default as a file would write it.
    #[must_use]
    pub fn default_text(&self) -> &'static str {
        match self.default {
            "String::new()" | "PathBuf::new()" | "std::path::PathBuf::new()" | "Secret::new(\"\")" => "\"\"",
            "Vec::new()" => "[]",
            // The version is left out, or the reference would change with each release.
            own if own.starts_with("concat!(\"leverframe/\"") => "\"leverframe/<version>\"",
            other => [".map(str::to_owned).into()", ".to_owned()", ".into()"]
                .iter()
                .find_map(|conversion| other.strip_suffix(conversion))
                .unwrap_or(other),
        }
    }

    /// Returns the key as a file writes it.
    #[must_use]
    pub fn key(&self) -> &'static str {
        self.name.trim_start_matches("r#")
    }
}

/// Declares a settings struct: its fields with documentation, kind and default, once.
///
/// The struct derives `Clone`, `Debug` and a `Deserialize` that takes defaults for what is missing and refuses what
/// it does not know; `FIELDS` describes it.
///
/// # Examples
/// ```
/// leverframe::settings! {
///     /// Settings of the `example` transport.
///     pub struct ExampleConfig {
///         /// The folder that answers come from.
///         pub folder: std::path::PathBuf = Path, "answers".into();
///         /// Longest wait, in milliseconds.
///         pub timeout_ms: u64 = Integer, 10_000;
///     }
/// }
/// assert_eq!(ExampleConfig::default().timeout_ms, 10_000);
/// assert_eq!(ExampleConfig::FIELDS[0].name, "folder");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ pub $field:ident : $type:ty = $kind:ident, $default:expr;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, $crate::config::__serde::Deserialize)]
        #[serde(crate = "leverframe::config::__serde", default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// What the table may hold.
            pub const FIELDS: &'static [$crate::config::Field] = &[$($crate::config::Field {
                name: stringify!($field),
                kind: $crate::config::FieldKind::$kind,
                default: stringify!($default),
                doc: &[$($doc),+],
            },)*];
        }
    };
}
