//! Measures leverframe, and the public engines it is compared with, on one workload.
//!
//! `workload` says what is evaluated; `engine` is the little that every engine must do and the check that all of
//! them do it alike; `ours` and `peers` implement it; `gate` is the same for gates; `measure` times sides in turn and
//! `threads` two of them at once; `options` and `report` are what a program is asked and what it answers.
//! `bin/sources` is a suite of its own.

pub mod changes;
pub mod engine;
pub mod gate;
pub mod load;
pub mod measure;
pub mod options;
pub mod ours;
#[cfg(feature = "peers")]
pub mod peers;
pub mod report;
pub mod threads;
pub mod workload;
