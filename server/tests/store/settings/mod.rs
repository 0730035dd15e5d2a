//! What the store promises of settings.

mod entries;
mod fixtures;
