//! Last known good: sealed, and what it is good for.

use std::{fs, net::TcpListener, path::Path, sync::Arc};

use leverframe::{
    NexusClient, NexusError, Secret,
    backends::cache_file::{FileCache, FileCacheConfig},
    live::Origin,
    settings::NexusClientBuilder,
    testing::ManualClock,
    traits::CacheStore,
};
use serde_json::json;

use super::{
    ports::free_port,
    stage::{Fault, PUBLIC_KEY, Stage, flag, secret, settled},
};

const CACHE_KEY: &str = "a cache key of this test, long enough";

fn cache(dir: &Path) -> Arc<dyn CacheStore> {
    let mut config = FileCacheConfig::default();
    config.dir = dir.to_owned();
    Arc::new(FileCache::open(config).unwrap())
}

fn keeping(builder: NexusClientBuilder, dir: &Path) -> NexusClientBuilder {
    builder.cache(cache(dir), Secret::new(CACHE_KEY))
}

/// A service that will be gone: nobody else is given its port.
fn leaving() -> Stage {
    Stage::on(TcpListener::bind(("127.0.0.1", free_port())).unwrap()).fill()
}

/// Every byte below a folder.
fn contents(dir: &Path) -> Vec<Vec<u8>> {
    let items = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    items
        .flat_map(|path| if path.is_dir() { contents(&path) } else { vec![fs::read(&path).unwrap()] })
        .collect()
}

#[test]
fn a_client_starts_from_what_was_kept_while_the_service_is_away_and_goes_on_when_it_is_back() {
    let (stage, dir) = (leaving(), tempfile::tempdir().unwrap());
    drop(keeping(stage.builder(), dir.path()).build().unwrap());
    let (builder, address) = (stage.builder(), stage.url().trim_start_matches("http://").to_owned());
    drop(stage);

    let clock = ManualClock::new();
    let client = keeping(builder, dir.path()).clock(Arc::new(clock.clone())).build().unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1");
    assert!(client.get_flag("checkout", false));
    let status = client.status();
    assert_eq!((status.origin, status.consecutive_failures, client.synced_at()), (Origin::Kept, 1, None));
    let stage = Stage::on(TcpListener::bind(&*address).unwrap());
    // Two states on, or it would have the name of the first.
    stage.publish(|_| {});
    stage.publish(|document| document.flags = json!({"checkout": flag(false)}));
    stage.while_time_passes(&clock, "the service is found again", || !client.get_flag("checkout", true));
    assert_eq!(client.status().origin, Origin::Source);
}

#[test]
fn nothing_is_kept_in_clear_and_without_a_key_nothing_at_all() {
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    stage.publish(|document| document.secrets = json!({"canary-name": secret("canary-value", 1)}));

    drop(keeping(stage.builder(), dir.path()).build().unwrap());

    let kept = contents(dir.path());
    assert!(kept.len() >= 2, "nothing was kept");
    for canary in ["canary-name", "canary-value", "greeting", "checkout", CACHE_KEY] {
        let found = kept.iter().any(|file| file.windows(canary.len()).any(|part| part == canary.as_bytes()));
        assert!(!found, "{canary} is kept in clear");
    }
    let short = stage.builder().cache(cache(dir.path()), Secret::new("short")).build();
    assert!(matches!(short, Err(NexusError::Config(reason)) if reason.contains("cache_key")));
}

#[test]
fn a_start_with_what_was_kept_asks_only_whether_it_is_current() {
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    drop(keeping(stage.builder(), dir.path()).build().unwrap());

    let client = keeping(stage.builder(), dir.path()).build().unwrap();

    assert_eq!(stage.asked("/v1/sync")[1].header("if-none-match"), Some("\"1-wxs\""));
    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1");
    assert!(client.synced_at().is_some());
}

#[test]
fn another_key_opens_nothing_and_destroys_nothing() {
    let (stage, dir) = (leaving(), tempfile::tempdir().unwrap());
    drop(keeping(stage.builder(), dir.path()).build().unwrap());
    let builder = || stage_builder(&stage);
    let other = || builder().cache(cache(dir.path()), Secret::new("another key that is long enough too"));
    // With the service there, the whole is asked for instead.
    let with_service = other().build().unwrap();
    assert!(with_service.get_flag("checkout", false));
    drop(with_service);
    let (of_other, of_first) = (other(), keeping(builder(), dir.path()));
    drop(stage);

    let away = of_other.build().map(drop);
    let first = of_first.build().unwrap();

    // It has kept a state of its own by now, and the first one's is still there.
    assert!(away.is_ok(), "{away:?}");
    assert!(first.get_flag("checkout", false));
}

fn stage_builder(stage: &Stage) -> NexusClientBuilder {
    NexusClient::builder().endpoint(stage.url()).api_key(super::stage::KEY)
}

#[test]
fn what_was_damaged_is_not_served_and_the_start_fails_as_without_it() {
    let (stage, dir) = (leaving(), tempfile::tempdir().unwrap());
    drop(keeping(stage.builder(), dir.path()).build().unwrap());
    let builder = keeping(stage.builder(), dir.path());
    drop(stage);
    fn damage(dir: &Path) {
        for item in fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()) {
            if item.is_dir() {
                damage(&item);
            } else {
                let mut bytes = fs::read(&item).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x40;
                fs::write(&item, bytes).unwrap();
            }
        }
    }
    damage(dir.path());

    let error = builder.build().unwrap_err();

    assert!(matches!(error, NexusError::Transport(_)), "{error:?}");
}

#[test]
fn what_one_service_sent_is_not_what_another_starts_from() {
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    drop(keeping(stage.builder(), dir.path()).build().unwrap());
    let other = leaving();
    let builder = keeping(other.builder(), dir.path());
    drop(other);

    assert!(builder.build().is_err());
}

#[test]
fn what_one_kind_of_key_was_sent_is_not_what_another_starts_from() {
    let (stage, dir) = (leaving(), tempfile::tempdir().unwrap());
    let secret_key = || keeping(stage_builder(&stage), dir.path());
    let public_key = || keeping(stage_builder(&stage).api_key(PUBLIC_KEY), dir.path());
    drop(secret_key().build().unwrap());
    // A public key makes nothing of what the secret one was sent.
    stage.fail("/v1/sync", Fault::status(500));
    let away = public_key().build().map(drop);
    assert!(matches!(away, Err(NexusError::Unavailable { status: 500, .. })), "{away:?}");
    drop(public_key().build().unwrap());
    let (of_secret, of_public) = (secret_key(), public_key());
    drop(stage);

    let (backend, frontend) = (of_secret.build().unwrap(), of_public.build().unwrap());

    assert_eq!(backend.get_secret("token").unwrap().expose(), "s3cret-1");
    assert!(frontend.get_flag("checkout", false) && frontend.snapshot().secrets.is_empty());
    assert_eq!((backend.key_type(), frontend.key_type()), ("sk", "pk"));
}

#[test]
fn files_of_secrets_are_there_at_a_start_without_the_service() {
    let (stage, dir) = (leaving(), tempfile::tempdir().unwrap());
    stage.publish(|document| document.secrets = json!({"cert": super::stage::file("content", 1)}));
    drop(keeping(stage.builder(), dir.path()).build().unwrap());
    let (builder, base) = (keeping(stage.builder(), dir.path()), tempfile::tempdir().unwrap());
    drop(stage);

    let client = builder.files_dir(base.path()).build().unwrap();

    assert_eq!(fs::read_to_string(client.get_secret_file_path("cert").unwrap()).unwrap(), "content");
    settled(&client, 0);
}
