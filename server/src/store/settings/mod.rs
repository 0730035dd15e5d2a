//! Services, their keys, and what they have.
//!
//! Whoever writes an entry holds the service's row until it is done: writes of one service follow each other, and no
//! version is given twice. Nobody holds two services at once, but for who replaces data keys, in the order of names; the
//! log of changes comes last. So nobody waits for who waits for them.

mod data_keys;
mod held;
mod keys;
mod records;
mod services;
mod write;
