//! Namespaces of any size, for what depends on size: lint, compilation, memory.

use leverframe::document::{Entry, Tree};

// The source that `leverframe gen` is made of: what is measured here is what `gen --seed 1` writes.
#[path = "../../cli/src/generate.rs"]
mod generate;

/// Generates a namespace of that many flags.
///
/// # Panics
/// Beyond 2³² flags.
#[must_use]
pub fn tree(flags: usize) -> Tree {
    generate::generate("generated", flags.try_into().expect("no row has that many flags"), 1)
}

/// Generates the same as pairs of path and content.
#[must_use]
pub fn files(flags: usize) -> Vec<(String, Vec<u8>)> {
    let tree = tree(flags);
    let contents = tree.iter().filter_map(|(path, entry)| match entry {
        Entry::File(content) => Some((path.to_owned(), content.to_vec())),
        _ => None,
    });
    contents.collect()
}
