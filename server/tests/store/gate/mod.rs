//! What the store promises of the gate.

mod counting;
mod decisions;
mod fixtures;
mod keys;
mod pace;
mod replicas;
mod sizes;
