//! Settings of the `memory` cache.

use crate::settings;

settings! {
    /// How much is kept.
    pub struct MemoryConfig {
        /// The largest number of entries.
        pub max_entries: usize = Integer, 1_000;
    }
}
