//! TBD backends
