//! A binary that names one plug-in has that one and no other.
#![cfg(feature = "cache-redis")]

use cache_redis as _;
use leverframe::registry::Registry;

#[test]
fn a_binary_that_names_cache_redis_lists_it_alone() {
    let registry = Registry::discover().unwrap();

    let foreign: Vec<_> = registry
        .list()
        .into_iter()
        .filter(|l| l.origin != "leverframe")
        .map(|l| (l.kind, l.name, l.origin))
        .collect();

    assert_eq!(foreign, [("cache", "redis", "cache-redis")]);
}
