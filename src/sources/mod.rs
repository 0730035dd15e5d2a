//! TBD sources
