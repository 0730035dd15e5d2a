//! TBD registry
