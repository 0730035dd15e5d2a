//! Settings of the `file` cache.

use crate::settings;

settings! {
    /// Where entries are kept.
    pub struct FileCacheConfig {
        /// The directory; made with access for its owner only where it does not exist. Required.
        pub dir: std::path::PathBuf = Path, std::path::PathBuf::new();
        /// The largest entry that is written or read, in bytes.
        pub max_entry_bytes: u64 = Integer, 64_000_000;
    }
}
