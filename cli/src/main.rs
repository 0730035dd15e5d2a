//! The `leverframe` command.

fn main() {}
