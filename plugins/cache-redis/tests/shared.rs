//! A process that starts while the source is away serves what another one loaded.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs, path::Path};

use cache_redis as _;
use leverframe::{EvalContext, Leverframe, config::ConfigBuilder};

use crate::server::Server;

mod server;

const BANNER: &str = r#"
schema_version = "0.1"
[flag]
type = "boolean"
description = "Shows the banner"
owner = "shop"
lifecycle = "active"
[flag.variants]
on = true
off = false
[flag.environments._]
variant = "on"
"#;

fn config(server: &Server, place: &Path) -> ConfigBuilder {
    leverframe::config::Config::builder()
        .set("cache.use", "redis")
        .set("cache.redis.url", server.url())
        .set("flags.shop.uri", format!("file://{}", place.display()))
        .set("flags.shop.environment", "production")
}

#[test]
fn a_frame_starts_from_what_another_one_left_in_redis() {
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("shop");
    fs::create_dir_all(place.join("flags")).unwrap();
    fs::write(place.join("flags/banner.toml"), BANNER).unwrap();
    Leverframe::builder().config(config(&server, &place)).build().unwrap().close().unwrap();
    fs::remove_dir_all(&place).unwrap();

    let frame = Leverframe::builder().config(config(&server, &place)).build().unwrap();

    let context = EvalContext::builder().build();
    let shown = frame.namespace("shop").unwrap().eval_bool("banner", "production", &context);
    assert!(shown.unwrap());
    frame.close().unwrap();
}
