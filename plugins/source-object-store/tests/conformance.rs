//! The source keeps every clause, and configuration finds it.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs, sync::Arc};

use leverframe::{
    Leverframe, config::Config, document::Tree, manifest::archive::pack, registry::Registry,
    testing::conformance::source::Fixture, traits::Source,
};
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use source_object_store::{ObjectStoreConfig, ObjectStoreSource, SCHEMES};

use crate::support::{Place, fresh_name, s3::SERVER};

mod support;

const OBJECT: &str = "payments/manifest.tar.gz";

fn over(store: Arc<dyn ObjectStore>) -> ObjectStoreSource {
    ObjectStoreSource::over(store, OBJECT, ObjectStoreConfig::default()).unwrap()
}

fn in_memory() -> Fixture<ObjectStoreSource> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    Fixture::new(over(Arc::clone(&store)), Place::new(store, OBJECT))
}

fn local_file_system() -> Fixture<ObjectStoreSource> {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    Fixture::new(over(Arc::clone(&store)), Place::new(store, OBJECT).keeping(dir))
}

fn s3_server() -> Fixture<ObjectStoreSource> {
    let name = fresh_name();
    let source = ObjectStoreSource::open(&format!("s3://flags/{name}"), SERVER.config(), None).unwrap();
    Fixture::new(source, Place::new(SERVER.client(), &name).with_secret(&SERVER.secret))
}

leverframe::source_conformance!(over_the_in_memory_back_end_of_object_store, in_memory);
leverframe::source_conformance!(over_the_local_file_system_back_end_of_object_store, local_file_system);
leverframe::source_conformance!(over_an_s3_server_that_checks_signatures, s3_server);

#[test]
fn naming_the_crate_registers_it_and_its_example_configures_it() {
    let registry = Registry::discover().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, source_object_store::PLUGIN.example()).unwrap();

    let config = Config::builder().file(file).build().unwrap();

    config.check(&registry).unwrap();
    let plugin = registry.find::<dyn Source>("object_store").unwrap();
    assert_eq!((plugin.origin(), plugin.schemes()), ("source-object-store", SCHEMES));
}

#[test]
fn a_namespace_of_flags_is_served_from_an_s3_bucket_that_configuration_names() {
    let name = fresh_name();
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
    let flags = [("flags/banner.toml", BANNER)];
    let archive = pack(&flags.into_iter().collect::<Tree>()).unwrap();
    Place::new(SERVER.client(), &name).put(archive);
    let config = Config::builder()
        .set("source.object_store.endpoint", SERVER.endpoint())
        .set("source.object_store.access_key_id", SERVER.id.clone())
        .set("source.object_store.secret_access_key", SERVER.secret.clone())
        .set("flags.shop.uri", format!("s3://flags/{name}"))
        .set("flags.shop.environment", "production");

    let frame = Leverframe::builder().config(config).build().unwrap();

    assert_eq!(frame.namespace("shop").unwrap().flag_version(), 1);
    let explained = format!("{:?} {frame:?}", frame.explain());
    assert!(!explained.contains(&SERVER.secret), "{explained}");
    frame.close().unwrap();
}
