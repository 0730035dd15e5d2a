//! Stands in for notification where it is not compiled in: the periodic look at the metadata is all there is.

use super::FileConfig;

/// Never tells anything.
pub(super) fn events(_: &FileConfig) -> std::future::Pending<()> {
    std::future::pending()
}
