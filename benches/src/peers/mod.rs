//! The public engines that leverframe is compared with.
//!
//! Each is fed what its own server would send for the workload, in its own format, and called as its documentation
//! says, with users prepared as far as its interface allows. Where there is a choice, the one that is faster for the
//! peer is taken, and its module says which.

mod eppo;
mod flagd;
mod growthbook;
mod launchdarkly;
mod yggdrasil;

pub use self::{
    eppo::Eppo, flagd::Flagd, growthbook::Growthbook, launchdarkly::LaunchDarkly, yggdrasil::Yggdrasil,
};
