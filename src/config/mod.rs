//! TBD config
