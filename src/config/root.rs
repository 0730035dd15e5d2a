//! The tables that the framework itself reads.

use super::Field;
use crate::settings;

/// The framework's own tables with their settings.
pub(super) const TABLES: &[(&str, &[Field])] = &[
    ("transport", TransportSettings::FIELDS),
    ("cache", CacheSettings::FIELDS),
    ("clock", ClockSettings::FIELDS),
    ("telemetry", TelemetrySettings::FIELDS),
    ("flags", FlagsSettings::FIELDS),
];

settings! {
    /// `[transport]`: how requests travel.
    pub struct TransportSettings {
        /// The transport to use, by its registered name. Empty: the default.
        pub r#use: String = String, String::new();
    }
}

settings! {
    /// `[cache]`: where the last known good is kept.
    pub struct CacheSettings {
        /// The cache to use, by its registered name.
        pub r#use: String = String, "memory".to_owned();
    }
}

settings! {
    /// `[clock]`: what time it is.
    pub struct ClockSettings {
        /// The clock to use, by its registered name.
        pub r#use: String = String, "system".to_owned();
    }
}

settings! {
    /// `[telemetry]`: where records of evaluations go.
    pub struct TelemetrySettings {
        /// The sinks to use, by their registered names.
        pub r#use: Vec<String> = List, Vec::new();
    }
}

settings! {
    /// `[flags.<name>]`: one namespace of flags.
    pub struct FlagsSettings {
        /// The source, by its registered name. Empty: the one that serves the URI's scheme.
        pub source: String = String, String::new();
        /// Where the namespace is, such as `file:///etc/app/flags`. Required.
        pub uri: String = String, String::new();
        /// The environment to evaluate in. Required.
        pub environment: String = String, String::new();
        /// The longest time between two looks at the source, in milliseconds.
        pub poll_interval_ms: u64 = Integer, 30_000;
        /// Whether every evaluation gives its default.
        pub dry_run: bool = Boolean, false;
    }
}
