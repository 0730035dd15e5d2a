//! What the bundle links is registered.

use leverframe::registry::Registry;
use leverframe_bundle as _;

#[test]
fn every_plug_in_of_the_bundle_is_registered_once() {
    let registry = Registry::discover().unwrap();

    let foreign: Vec<_> =
        registry.list().into_iter().filter(|l| l.origin != "leverframe").map(|l| l.origin).collect();

    assert_eq!(foreign, ["transport-example"]);
}
