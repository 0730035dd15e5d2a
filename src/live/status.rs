//! How a feed stands, as values and as metrics.

use std::{
    fmt::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    ErrorKind,
    document::Revision,
    sse::{StreamState, StreamStatus},
};

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A new snapshot is served, under this version.
    Swapped(u64),
    /// The source has nothing new, or a load that began later has already settled.
    Unchanged,
}

/// What a refresh came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polled {
    pub(crate) outcome: Outcome,
    /// Whether what is served is the state that the source had when it was asked, or a later one. Not after a change that
    /// was applied, which leads on from what was served and may have been told before; nor where the answer no longer
    /// counts, or is a document that was refused.
    pub(crate) is_confirmed: bool,
}

impl Polled {
    /// Nothing new, and no proof that there is none.
    pub(crate) const UNPROVEN: Self = Self { outcome: Outcome::Unchanged, is_confirmed: false };
}

/// Where what is served came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The source, in this process.
    Source,
    /// Last known good, kept by a process before.
    Kept,
    /// The document that was compiled in.
    Baseline,
}

impl Origin {
    /// Returns the word of figures and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Kept => "kept",
            Self::Baseline => "baseline",
        }
    }
}

/// What to do about a state that the source has not confirmed for long.
///
/// What is served is never taken away: evaluation goes on with what there is. The policy decides whether a process
/// may start from an old state, and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StalePolicy {
    /// Start from a kept state of any age.
    Serve,
    /// Start from a kept state of any age, and log one warning when the age is exceeded.
    #[default]
    Warn,
    /// Refuse to start from a kept state beyond the age; a running feed warns and reports itself as expired.
    Fail,
}

/// How a feed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The version being served.
    pub version: u64,
    /// The source's name for the state being served.
    pub revision: Option<Revision>,
    /// Where what is served came from.
    pub origin: Origin,
    /// How long ago the source last confirmed that what is served is current.
    pub staleness: Duration,
    /// Whether the staleness is beyond what the policy allows.
    pub expired: bool,
    /// When the source last confirmed that what is served is current; `None` before it did in this process.
    pub last_success: Option<SystemTime>,
    /// Why the last refresh failed; `None` if it did not.
    pub last_error: Option<String>,
    /// The kind of that error.
    pub last_error_kind: Option<ErrorKind>,
    /// How many refreshes failed since the last that did not.
    pub consecutive_failures: u64,
    /// How many refreshes have settled, well or not.
    pub refreshes: u64,
    /// How many refreshes failed in all.
    pub failures: u64,
    /// The bytes of the last document that the source brought.
    pub bytes: u64,
    /// The revision of a document that the source offers and that did not pass the checks.
    pub quarantined: Option<Revision>,
    /// How the event stream stands, where there is one.
    pub stream: Option<StreamStatus>,
}

/// Writes the figures of several feeds in the text format that Prometheus and OpenMetrics scrapers read.
///
/// # Examples
/// ```
/// use leverframe::{Namespace, live::metrics_text};
/// # let files = [("flags/a.toml", "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n[flag.environments._]\nvariant = \"on\"\n")];
/// let namespace = Namespace::from_files("shop", &files)?;
/// let text = metrics_text([("shop", &namespace.status())]);
/// assert!(text.contains("leverframe_feed_version{feed=\"shop\"} 1\n"));
/// # Ok::<(), leverframe::LoadError>(())
/// ```
#[must_use]
pub fn metrics_text<'a>(feeds: impl IntoIterator<Item = (&'a str, &'a Status)>) -> String {
    type Read = fn(&Status) -> Option<f64>;
    const FIGURES: &[(&str, &str, &str, Read)] = &[
        ("version", "gauge", "The version being served.", |s| Some(s.version as f64)),
        ("staleness_seconds", "gauge", "Time since the source last confirmed what is served.", |s| {
            Some(s.staleness.as_secs_f64())
        }),
        ("expired", "gauge", "1 if the staleness is beyond what the policy allows.", |s| {
            Some(f64::from(u8::from(s.expired)))
        }),
        ("last_success_timestamp_seconds", "gauge", "When the source last confirmed what is served.", |s| {
            Some(s.last_success?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        }),
        ("refreshes_total", "counter", "Refreshes that settled, well or not.", |s| Some(s.refreshes as f64)),
        ("failures_total", "counter", "Refreshes that failed.", |s| Some(s.failures as f64)),
        ("consecutive_failures", "gauge", "Refreshes that failed since the last that did not.", |s| {
            Some(s.consecutive_failures as f64)
        }),
        ("document_bytes", "gauge", "Bytes of the last document that the source brought.", |s| {
            Some(s.bytes as f64)
        }),
        ("quarantined", "gauge", "1 if the source offers a document that does not pass the checks.", |s| {
            Some(f64::from(u8::from(s.quarantined.is_some())))
        }),
        ("stream_connections_total", "counter", "How often the event stream was opened.", |s| {
            Some(s.stream.as_ref()?.connections as f64)
        }),
        ("stream_events_total", "counter", "Events that the stream brought.", |s| {
            Some(s.stream.as_ref()?.events as f64)
        }),
        ("stream_connected_timestamp_seconds", "gauge", "Since when the event stream is open.", |s| {
            let since = s.stream.as_ref()?.connected_since?;
            Some(since.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        }),
    ];
    let feeds: Vec<(String, &Status)> =
        feeds.into_iter().map(|(name, status)| (label(name), status)).collect();
    let mut text = String::new();
    for (name, kind, help, read) in FIGURES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP leverframe_feed_{name} {help}\n# TYPE leverframe_feed_{name} {kind}");
        for (feed, status) in &feeds {
            if let Some(value) = read(status) {
                let _ = writeln!(text, "leverframe_feed_{name}{{feed=\"{feed}\"}} {value}");
            }
        }
    }
    let _ = writeln!(
        text,
        "# HELP leverframe_feed_stream_state 1 for the state that the event stream is in.\n\
         # TYPE leverframe_feed_stream_state gauge"
    );
    for (feed, stream) in feeds.iter().filter_map(|(feed, status)| Some((feed, status.stream.as_ref()?))) {
        for state in StreamState::ALL {
            let value = u8::from(state == stream.state);
            let state = state.as_str();
            let _ =
                writeln!(text, "leverframe_feed_stream_state{{feed=\"{feed}\",state=\"{state}\"}} {value}");
        }
    }
    let _ = writeln!(
        text,
        "# HELP leverframe_feed_info Where what is served came from, and the last error's kind."
    );
    let _ = writeln!(text, "# TYPE leverframe_feed_info gauge");
    for (feed, status) in &feeds {
        let error = status.last_error_kind.map_or("", ErrorKind::as_str);
        let origin = status.origin.as_str();
        let _ = writeln!(
            text,
            "leverframe_feed_info{{feed=\"{feed}\",origin=\"{origin}\",last_error=\"{error}\"}} 1"
        );
    }
    text
}

fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
