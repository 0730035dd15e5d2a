//! A binary that could link the plug-ins and names none of them has none: the linker leaves out what nothing names.

use leverframe::registry::Registry;

#[test]
fn a_binary_that_names_no_plug_in_lists_none() {
    let registry = Registry::discover().unwrap();

    assert!(registry.list().iter().all(|l| l.origin == "leverframe"), "{registry:?}");
}
