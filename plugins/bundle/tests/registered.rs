//! What the bundle links is registered, and nothing that was left out.

use leverframe::registry::Registry;
use leverframe_bundle as _;

#[test]
fn every_plug_in_whose_feature_is_on_is_registered_once() {
    let registry = Registry::discover().unwrap();

    let mut foreign: Vec<_> =
        registry.list().into_iter().filter(|l| l.origin != "leverframe").map(|l| l.origin).collect();
    foreign.sort_unstable();

    let linked = [
        ("cache-redis", cfg!(feature = "cache-redis")),
        ("source-object-store", cfg!(feature = "source-object-store")),
        ("transport-example", cfg!(feature = "transport-example")),
    ];
    let expected: Vec<_> = linked.into_iter().filter(|(_, on)| *on).map(|(origin, _)| origin).collect();
    assert_eq!(foreign, expected);
}
