//! Configs as values of one's own types, and being told of changes.

use std::{
    fs,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use leverframe::{
    NexusError,
    settings::{Change, ConfigSource},
    testing::ManualClock,
};
use serde::Deserialize;
use serde_json::json;

use super::stage::{Stage, config, flag, pass, secret, settled};

#[derive(Debug, Deserialize, PartialEq)]
struct Database {
    host: String,
    port: u16,
    #[serde(default)]
    pool: Pool,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct Pool {
    size: u32,
}

fn stage() -> Stage {
    let stage = Stage::filled();
    stage.publish(|document| {
        document.configs = json!({"db": config(json!({"host": "a", "port": 1})), "db.pool.size": config(4)});
    });
    stage
}

#[test]
fn a_bound_value_follows_the_configs_and_outlives_the_client_it_came_from() {
    let stage = stage();
    let (client, clock) = stage.client();
    let database = client.bind::<Database>("db").unwrap();
    let size = client.bind::<u32>("db.pool.size").unwrap();
    drop(client);
    let first = database.get();
    assert_eq!(*first, Database { host: "a".to_owned(), port: 1, pool: Pool { size: 4 } });

    stage.publish(|document| document.configs["db.pool.size"] = config(8));
    pass(&clock, Duration::from_secs(60));

    super::stage::eventually("the value follows", || database.load().pool.size == 8 && **size.load() == 8);
    assert_eq!(first.pool.size, 4, "what was taken out stays as it was");
}

#[test]
fn a_change_that_does_not_fit_is_refused_whole_and_named_without_its_value() {
    let stage = stage();
    let (client, _clock) = stage.client();
    let database = client.bind::<Database>("db").unwrap();
    let before = database.get();

    stage.publish(|document| {
        document.configs = json!({
            "db": config(json!({"host": "b", "port": 2})), "db.pool.size": config("canary"),
        });
        document.flags = json!({"checkout": flag(false)});
    });
    client.sync().unwrap();

    assert!(Arc::ptr_eq(&before, &database.get()), "half of the change was taken");
    let error = database.last_error().unwrap();
    assert!(
        error.contains("`db.pool.size`") && error.contains("u32") && !error.contains("canary"),
        "{error}"
    );
    assert!(!format!("{database:?}").contains("canary"));
    assert!(!client.get_flag("checkout", true), "flags have nothing to do with it");
    stage.publish(|document| document.configs["db.pool.size"] = config(5));
    client.sync().unwrap();
    assert_eq!((database.get().pool.size, database.get().port, database.last_error()), (5, 2, None));
}

#[test]
fn a_value_that_does_not_change_is_not_made_anew() {
    let stage = stage();
    let (client, _clock) = stage.client();
    let database = client.bind::<Database>("db").unwrap();
    let before = database.get();

    stage.publish(|document| document.configs["other"] = config(1));
    client.sync().unwrap();

    assert!(Arc::ptr_eq(&before, &database.get()));
}

#[test]
fn configs_that_do_not_fit_at_first_are_an_error_that_names_the_key_and_the_type() {
    let stage = stage();
    let (client, _clock) = stage.client();

    let Err(NexusError::Mismatch { key, reason }) = client.bind::<Database>("db.pool") else {
        panic!("bound")
    };
    assert_eq!((key.as_str(), reason.as_str()), ("db.pool.host", "it is missing"));
    let Err(NexusError::Mismatch { key, reason }) = client.get_config_as::<bool>("db.pool.size") else {
        panic!("read")
    };
    assert_eq!(
        (key.as_str(), reason.as_str()),
        ("db.pool.size", "it is an integer, and has to be a boolean")
    );
    assert_eq!(client.get_config_as::<u8>("db.pool.size").unwrap(), Some(4));
    assert_eq!(client.get_config_as::<u8>("none").unwrap(), None);
}

#[test]
fn callbacks_are_told_each_change_once_by_key() {
    let stage = stage();
    let (client, _clock) = stage.client();
    let (tell, told) = mpsc::channel();
    let subscription = client.on_change(move |change: &Change| tell.send(change.clone()).unwrap());

    client.sync().unwrap();
    stage.publish(|document| {
        document.configs = json!({"db.pool.size": config(9), "new": config(1)});
        document.secrets = json!({"token": secret("s3cret-1", 2)});
        document.flags = json!({"checkout": flag(false), "banner": flag(false)});
    });
    client.sync().unwrap();

    let change = told.try_recv().unwrap();
    assert_eq!(change.configs, ["db", "db.pool.size", "new"]);
    assert_eq!((change.secrets, change.flags), (vec!["token".to_owned()], vec!["checkout".to_owned()]));
    assert!(told.try_recv().is_err(), "told twice");
    drop(subscription);
    stage.publish(|document| document.flags = json!({}));
    client.sync().unwrap();
    assert!(told.try_recv().is_err(), "told after the end");
}

#[test]
fn a_callback_may_use_its_client_and_one_that_panics_ends_nothing() {
    let stage = stage();
    let (client, _clock) = stage.client();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let _panics = client.on_change(|_| panic!("a callback of this test panics"));
    let _uses = client.on_change({
        let (client, seen) = (client.clone(), Arc::clone(&seen));
        move |_: &Change| {
            seen.lock().unwrap().push(client.get_config("n"));
            client.sync().unwrap();
        }
    });

    for n in 0..3 {
        stage.publish(|document| document.configs = json!({"n": config(n)}));
        client.sync().unwrap();
    }

    assert_eq!(*seen.lock().unwrap(), [Some(json!(0)), Some(json!(1)), Some(json!(2))]);
}

#[test]
fn layers_lie_over_the_service_in_their_order_and_files_are_followed() {
    let (stage, dir) = (stage(), tempfile::tempdir().unwrap());
    let path = dir.path().join("local.toml");
    fs::write(&path, "[db]\nport = 2\nname = \"file\"\n").unwrap();
    let clock = ManualClock::new();
    // Variables that cargo sets for every test: CARGO_PKG_NAME is the config `name`.
    let client = stage
        .builder()
        .clock(Arc::new(clock.clone()))
        .layer_file(&path)
        .layer_environment("CARGO_PKG_")
        .build()
        .unwrap();
    let port = client.bind::<u16>("db.port").unwrap();
    assert_eq!(client.get_config("name"), Some("leverframe".into()));
    assert_eq!(client.source_of("name"), Some(ConfigSource::Environment("CARGO_PKG_NAME".to_owned())));
    assert_eq!(client.source_of("db.port"), Some(ConfigSource::File(path.clone())));
    assert_eq!(client.source_of("db"), Some(ConfigSource::Service("service".to_owned())));
    assert_eq!(client.source_of("none"), None);
    assert_eq!(client.bind::<Database>("db").unwrap().get().port, 2);

    fs::write(&path, "db.port = 30\n").unwrap();
    pass(&clock, Duration::from_secs(60));
    settled(&client, 1);

    super::stage::eventually("the file is followed", || **port.load() == 30);
    assert_eq!(client.get_config("db.name"), None);
}

#[test]
fn a_file_of_configs_that_is_not_there_fails_the_start() {
    let stage = stage();

    let error = stage.builder().layer_file("/no/such/file.toml").build().unwrap_err();

    assert!(
        matches!(&error, NexusError::Config(reason) if reason.contains("/no/such/file.toml")),
        "{error:?}"
    );
}
