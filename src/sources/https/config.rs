//! Settings of the `https` source.

use crate::{Secret, settings};

settings! {
    /// What is asked for, as whom, and how much of an answer is read.
    ///
    /// # Examples
    /// ```
    /// use leverframe::sources::https::HttpsConfig;
    /// assert_eq!(HttpsConfig::default().max_bytes, 5_000_000);
    /// ```
    pub struct HttpsConfig {
        /// A token, sent as `Authorization: Bearer`. Credentials given in code or in the URI go before it.
        pub bearer_token: Secret = Secret, Secret::new("");
        /// The user of HTTP Basic authentication.
        pub user: String = String, String::new();
        /// The password of HTTP Basic authentication.
        pub password: Secret = Secret, Secret::new("");
        /// How long one exchange may take, in milliseconds.
        pub timeout_ms: u64 = Integer, 30_000;
        /// The largest answer that is read, in bytes.
        pub max_bytes: u64 = Integer, 5_000_000;
        /// Whether the detached signature is asked for, at the URI with `.sig` behind its path.
        pub signature: bool = Boolean, false;
    }
}
