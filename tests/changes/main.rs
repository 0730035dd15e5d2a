//! Changes that are applied one by one must give what checking the whole gives.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

mod equal;
mod feed;
