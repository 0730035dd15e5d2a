//! Settings of the `redis` cache.

leverframe::settings! {
    /// Where the server is, and how entries are kept there.
    pub struct RedisConfig {
        /// The server: `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for TLS, or `redis+unix:///path/to/socket`. Required.
        pub url: leverframe::Secret = Secret, leverframe::Secret::new("");
        /// What stands before the key of every entry, so that several applications can share a server.
        pub prefix: String = String, "leverframe:".to_owned();
        /// How long connecting may take, TLS and logging in included, in milliseconds.
        pub connect_timeout_ms: u64 = Integer, 2_000;
        /// How long a request and its answer may take once connected, in milliseconds.
        pub timeout_ms: u64 = Integer, 2_000;
        /// How long the server keeps an entry, in seconds. 0: for ever.
        pub ttl_seconds: u64 = Integer, 0;
        /// The largest entry that is written or read, in bytes.
        pub max_entry_bytes: u64 = Integer, 64_000_000;
        /// A PEM file of certificate authorities that are trusted besides the platform's. Empty: none.
        pub ca_file: std::path::PathBuf = Path, std::path::PathBuf::new();
    }
}
