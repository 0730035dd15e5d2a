//! The cache keeps every clause against a real server, and configuration finds it.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs, sync::Arc};

use cache_redis::RedisCache;
use leverframe::{
    backends::clock_system::SystemClock,
    config::Config,
    registry::{BuildContext, Registry},
    testing::conformance::cache::Fixture,
    traits::{CacheKey, CacheStore},
};
use redis::Commands;

use crate::server::Server;

mod server;

fn on_a_socket() -> Fixture<RedisCache> {
    let server = Server::start(&[]);
    damageable(server.cache(), server)
}

fn on_a_port() -> Fixture<RedisCache> {
    let server = Server::listening(&["--requirepass", "s3cret"]);
    let url = format!("redis://:s3cret@127.0.0.1:{}/5", server.port());
    // The entries stand in another database, which the damage of the fixture does not reach.
    Fixture::new(RedisCache::open(server::config(&url)).unwrap()).keeping(server)
}

fn damageable(cache: RedisCache, server: Server) -> Fixture<RedisCache> {
    let url = server.url();
    Fixture::new(cache)
        .with_damage(move |key| {
            let mut raw = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
            let key = format!("leverframe:{key}");
            let mut bytes: Vec<u8> = raw.get(&key).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let () = raw.set(&key, bytes).unwrap();
        })
        .keeping(server)
}

leverframe::cache_conformance!(socket, on_a_socket);
leverframe::cache_conformance!(port_password_and_database, on_a_port);

#[test]
fn naming_the_crate_registers_it_and_its_example_configures_it() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, cache_redis::PLUGIN.example()).unwrap();

    let config = Config::builder().file(file).build().unwrap();

    config.check(&registry).unwrap();
    assert_eq!(registry.find::<dyn CacheStore>("redis").unwrap().origin(), "cache-redis");
}

#[test]
fn a_configuration_makes_a_cache_that_works_and_explains_itself_without_the_password() {
    let server = Server::listening(&["--requirepass", "s3cret"]);
    let config = Config::builder()
        .set("cache.use", "redis")
        .set("cache.redis.url", format!("redis://:s3cret@127.0.0.1:{}", server.port()))
        .build()
        .unwrap();
    let context = BuildContext::new(&config, "cache.redis", Arc::new(SystemClock::new()));

    let cache =
        Registry::discover().unwrap().find::<dyn CacheStore>("redis").unwrap().build(&context).unwrap();

    let key = CacheKey::new("flags.shop").unwrap();
    assert_eq!(leverframe::live::block_on(cache.get(&key)).unwrap(), None);
    let shown = format!("{:?} {config:?} {context:?} {cache:?}", config.explain());
    assert!(shown.contains("cache.redis.url") && !shown.contains("s3cret"), "{shown}");
}
