//! TBD testing
