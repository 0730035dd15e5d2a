//! Settings of the `server` source.

use crate::{Secret, settings};

settings! {
    /// Which server is asked, as whom, and how much of an answer is read.
    ///
    /// # Examples
    /// ```
    /// use leverframe::sources::server::ServerConfig;
    /// assert_eq!(ServerConfig::default().max_bytes, 5_000_000);
    /// ```
    pub struct ServerConfig {
        /// The server's base URL, for namespaces that name none of their own. `EXD_SERVER_URL` sets it too.
        pub url: String = String, String::new();
        /// The tenant, for namespaces that name none. Empty: that of the token.
        pub tenant: String = String, String::new();
        /// The token, sent as `Authorization: Bearer`. A namespace's own goes before it. `EXD_API_TOKEN` sets it too.
        pub api_token: Secret = Secret, Secret::new("");
        /// How long one exchange may take, in milliseconds. The event stream is not bounded by it.
        pub timeout_ms: u64 = Integer, 30_000;
        /// The largest archive that is read, in bytes.
        pub max_bytes: u64 = Integer, 5_000_000;
    }
}
