//! The client that a configuration names.

use std::sync::Arc;

use leverframe::{ErrorKind, Leverframe, config::Config, testing::ManualClock};

use super::stage::{KEY, Stage};

fn frame(config: leverframe::config::ConfigBuilder) -> leverframe::Result<Leverframe> {
    Leverframe::builder().config(config).clock(Arc::new(ManualClock::new())).build()
}

#[test]
fn a_table_of_settings_makes_a_client_that_a_reload_leaves_alone() {
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    let path = dir.path().join("app.toml");
    let table = format!("[settings]\nendpoint = \"{}\"\nttl_ms = 5000\n", stage.url());
    std::fs::write(&path, &table).unwrap();
    let frame =
        frame(Config::builder().file(&path).environment([("LEVERFRAME_SETTINGS__API_KEY", KEY)])).unwrap();
    let client = frame.settings().unwrap();
    assert!(client.get_flag("checkout", false));
    assert!(frame.metrics().contains("leverframe_feed_version{feed=\"[settings]\"} 1\n"));
    assert!(frame.explain().iter().all(|line| !format!("{line:?}").contains(KEY)));

    let same = frame.reload().unwrap();
    std::fs::write(&path, table.replace("5000", "6000")).unwrap();
    let other = frame.reload().unwrap();

    assert_eq!((same.settings_changed, other.settings_changed), (false, true));
    assert_eq!(stage.syncs(), 2);
    frame.close().unwrap();
    assert!(client.get_flag("checkout", false));
}

#[test]
fn settings_that_cannot_work_are_refused_by_key_and_without_their_secrets() {
    let none = frame(Config::builder()).unwrap().settings().unwrap_err();
    assert_eq!((none.kind(), none.hint_text().is_some()), (ErrorKind::NotFound, true));
    for (key, value, word) in [
        ("settings.api_key", "canary", "endpoint"),
        ("settings.endpoint", "http://canary@h", "endpoint"),
        ("settings.endpoint", "https://h", "api_key"),
        ("settings.endpont", "https://h", "endpoint"),
    ] {
        let error = frame(Config::builder().set(key, value)).unwrap_err();
        let shown = format!("{} {:?}", error.chain(), error);
        assert!(shown.contains(word) && !shown.contains("canary"), "{shown}");
    }
}
