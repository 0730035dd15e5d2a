//! What the store promises of the gate.

mod counting;
mod decisions;
mod fixtures;
mod keys;
mod many;
mod replicas;
mod sizes;
