//! TBD live
