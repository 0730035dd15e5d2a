//! A binary that names one plug-in has that one and no other.
#![cfg(feature = "source-object-store")]

use leverframe::registry::Registry;
use source_object_store as _;

#[test]
fn a_binary_that_names_source_object_store_lists_it_alone() {
    let registry = Registry::discover().unwrap();

    let foreign: Vec<_> = registry
        .list()
        .into_iter()
        .filter(|l| l.origin != "leverframe")
        .map(|l| (l.kind, l.name, l.origin))
        .collect();

    assert_eq!(foreign, [("source", "object_store", "source-object-store")]);
}
