//! How a stream stands.

use std::time::SystemTime;

/// Where a client is with its event stream.
///
/// # Examples
/// ```
/// use leverframe::sse::StreamState;
/// assert_eq!(StreamState::SnapshotFetching.as_str(), "snapshot_fetching");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamState {
    /// The stream is being opened, or the next attempt to open it is waited for.
    #[default]
    Connecting,
    /// The stream is open, and what it told of has to be fetched.
    SnapshotFetching,
    /// The stream is open, and everything that it told of is served.
    Steady,
}

impl StreamState {
    /// Every state, in the order of a good start.
    pub const ALL: [Self; 3] = [Self::Connecting, Self::SnapshotFetching, Self::Steady];

    /// Returns the word of figures and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::SnapshotFetching => "snapshot_fetching",
            Self::Steady => "steady",
        }
    }
}

/// How a client's event stream stands.
///
/// # Examples
/// ```
/// use leverframe::sse::{StreamState, StreamStatus};
/// assert_eq!(StreamStatus::default().state, StreamState::Connecting);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Where the client is with it.
    pub state: StreamState,
    /// The id of the last event that came; what was applied is a matter of the version being served.
    pub last_event_id: Option<String>,
    /// Since when the stream is open; `None` while it is not.
    pub connected_since: Option<SystemTime>,
    /// How often the stream was opened.
    pub connections: u64,
    /// How many events came.
    pub events: u64,
    /// Why the stream was last lost or could not be opened; `None` once it is open again.
    pub last_error: Option<String>,
}
