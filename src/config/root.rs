//! The tables that the framework itself reads.

use std::path::PathBuf;

use super::Field;
use crate::{Secret, settings};

/// The framework's own tables with their settings.
pub(super) const TABLES: &[(&str, &[Field])] = &[
    ("transport", TransportSettings::FIELDS),
    ("cache", CacheSettings::FIELDS),
    ("clock", ClockSettings::FIELDS),
    ("telemetry", TelemetrySettings::FIELDS),
    ("flags", FlagsSettings::FIELDS),
    ("gate", GateSettings::FIELDS),
    ("settings", SettingsSettings::FIELDS),
    ("limits", LimitsSettings::FIELDS),
];

/// Those of them that hold tables of any name, each with these settings.
pub(super) const BY_NAME: &[&str] = &["flags", "limits"];

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
        /// Where the namespace is, such as `https://flags.example.com/payments.tar.gz`; with `source = "server"` the
        /// server's base URL, and without it what `source.server.url` says. Required otherwise.
        pub uri: String = String, String::new();
        /// The namespace's slug on a server. Empty: the name of the table.
        pub namespace: String = String, String::new();
        /// The tenant on a server. Empty: what `source.server.tenant` says.
        pub tenant: String = String, String::new();
        /// Whether a server is asked to tell of changes, instead of being asked for them.
        pub event_stream: bool = Boolean, false;
        /// The flags that the server is to tell of; empty: all.
        pub event_stream_flags: Vec<String> = List, Vec::new();
        /// A folder that what the event stream brings is mirrored in. Empty: one that goes with the process.
        pub working_tree: PathBuf = Path, PathBuf::new();
        /// The longest time between two looks at the server beside the event stream, in milliseconds.
        pub safety_net_interval_ms: u64 = Integer, 1_800_000;
        /// The environment to evaluate in. Required.
        pub environment: String = String, String::new();
        /// A token for the source, sent as `Authorization: Bearer`. Goes before the source's own table.
        pub bearer_token: Secret = Secret, Secret::new("");
        /// The user for the source, where it takes a user and a password.
        pub user: String = String, String::new();
        /// The password for the source.
        pub password: Secret = Secret, Secret::new("");
        /// The longest time between two looks at the source, in milliseconds.
        pub poll_interval_ms: u64 = Integer, 30_000;
        /// A file that the archive is kept in; a start within five minutes of its last write asks nobody.
        pub cache_path: PathBuf = Path, PathBuf::new();
        /// How many generations of last known good are kept in the cache that `[cache]` chooses; 0 for none. The
        /// `memory` cache keeps none: it ends with the process.
        pub generations: u64 = Integer, 3;
        /// What to do about a state that the source has not confirmed for long: `serve`, `warn` or `fail`.
        pub stale: String = String, "warn".to_owned();
        /// How long is long, in milliseconds.
        pub max_stale_age_ms: u64 = Integer, 86_400_000;
        /// An archive to serve when nothing else can be had.
        pub baseline: PathBuf = Path, PathBuf::new();
        /// The public keys that must vouch for the files; empty: nobody must.
        pub trusted_keys: Vec<String> = List, Vec::new();
        /// How many of them must have signed.
        pub threshold: u64 = Integer, 1;
        /// Whether every evaluation gives its default.
        pub dry_run: bool = Boolean, false;
    }
}

settings! {
    /// `[gate]`: the client of the gate's control plane.
    pub struct GateSettings {
        /// Names the client to the control plane. Required.
        pub publish_key: String = String, String::new();
        /// Signs the reports. Required; best set as `LEVERFRAME_GATE__SECRET_KEY`.
        pub secret_key: Secret = Secret, Secret::new("");
        /// Where the control plane is.
        pub base_url: String = String, "https://api.waitstate.io".to_owned();
        /// The part of the organisation that this process serves. Empty: the control plane's default.
        pub site_id: String = String, String::new();
        /// How often to report until the control plane says how often, in seconds.
        pub pulse_interval_secs: u64 = Integer, 20;
        /// How often to ask for the policy while reports do not get through, in seconds.
        pub sync_interval_secs: u64 = Integer, 30;
        /// What passes while the policy was not confirmed for as long as it holds: `open`, `fixed_rps` or `last_policy`.
        pub safe_mode_strategy: String = String, "fixed_rps".to_owned();
        /// How many calls a second pass with `fixed_rps`.
        pub safe_mode_max_rps: u64 = Integer, 50;
    }
}

settings! {
    /// `[settings]`: the client of a settings service.
    pub struct SettingsSettings {
        /// The base URL of the service. Required.
        pub endpoint: String = String, String::new();
        /// Says who asks. Required, but for a workload identity; best set as `LEVERFRAME_SETTINGS__API_KEY`.
        pub api_key: Secret = Secret, Secret::new("");
        /// A workload's identity in place of a key, by the name of its provider, such as `kubernetes` or `auto`. Empty:
        /// none.
        pub wif: String = String, String::new();
        /// How often the service is asked, in milliseconds; a second or more.
        pub ttl_ms: u64 = Integer, 60_000;
        /// The longest exchange with the service, in milliseconds.
        pub timeout_ms: u64 = Integer, 10_000;
        /// Whether the service is asked to tell of changes, too.
        pub event_stream: bool = Boolean, false;
        /// A key of 32 characters or more that what was last known is sealed with in the cache that `[cache]` chooses;
        /// best set as `LEVERFRAME_SETTINGS__CACHE_KEY`. Empty: nothing is kept.
        pub cache_key: Secret = Secret, Secret::new("");
        /// After how long without the service's word what is served counts as expired, in milliseconds; 0 for never.
        pub max_stale_age_ms: u64 = Integer, 0;
        /// Where the folder for secrets as files is made. Empty: the user's runtime folder, or the temporary one.
        pub files_dir: PathBuf = Path, PathBuf::new();
        /// A file whose configs lie over those of the service. Empty: none.
        pub layer_file: PathBuf = Path, PathBuf::new();
        /// What the names of those variables begin with whose values lie over all other configs. Empty: none.
        pub layer_environment: String = String, String::new();
    }
}

settings! {
    /// `[limits.<name>]`: a limit on calls under way, learned from how long they take.
    pub struct LimitsSettings {
        /// What to start from.
        pub initial: u64 = Integer, 10;
        /// What the limit never falls below.
        pub min: u64 = Integer, 1;
        /// What the limit never rises above.
        pub max: u64 = Integer, 1_000;
        /// A latency in milliseconds above which nothing is ever healthy, whatever was learned; 0 for none.
        pub baseline_ceiling_ms: u64 = Integer, 0;
        /// The tags that are refused last.
        pub critical: Vec<String> = List, Vec::new();
        /// The tags that are refused after those that are named nowhere here.
        pub high: Vec<String> = List, Vec::new();
        /// The tags that are refused first.
        pub low: Vec<String> = List, Vec::new();
        /// The flag that the bounds come from: an integer is the upper bound, a JSON object has `min`, `max` and
        /// `limit`. Empty: none.
        pub limit_flag: String = String, String::new();
        /// The `[flags.<name>]` that the flag is in. Required with `limit_flag`.
        pub flags: String = String, String::new();
        /// The context that the flag is evaluated in: strings, each as `attribute=value`.
        pub context: Vec<String> = List, Vec::new();
    }
}
