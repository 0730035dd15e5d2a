//! The gate of a configuration.

use std::{fs, path::Path};

use leverframe::{
    Error, ErrorKind, Leverframe,
    config::{Config, Layer},
    gate::{GateMode, SafeModeStrategy},
};

fn frame(file: &Path, environment: &[(&str, &str)]) -> leverframe::Result<Leverframe> {
    crate::logs::listen();
    Leverframe::builder()
        .config(Config::builder().file(file).environment(environment.iter().copied()))
        .build()
}

/// Nobody listens on port 9.
const TABLE: &str = "[gate]\npublish_key = \"wpk_a\"\nbase_url = \"http://127.0.0.1:9\"\n";

const CANARY: (&str, &str) = ("LEVERFRAME_GATE__SECRET_KEY", "wsk_canary");

fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, text).unwrap();
    (dir, file)
}

#[test]
fn the_gate_is_put_together_from_file_and_environment_and_its_secret_is_shown_nowhere() {
    let (_dir, file) = written(&format!("{TABLE}site_id = \"eu\"\npulse_interval_secs = 7\n"));
    let environment = [
        CANARY,
        ("LEVERFRAME_GATE__SYNC_INTERVAL_SECS", "9"),
        ("LEVERFRAME_GATE__SAFE_MODE_STRATEGY", "last_policy"),
        ("LEVERFRAME_GATE__SAFE_MODE_MAX_RPS", "5"),
    ];

    let frame = frame(&file, &environment).unwrap();

    let ws = frame.gate().unwrap();
    let config = ws.config();
    assert_eq!((config.publish_key.as_str(), config.site_id.as_deref()), ("wpk_a", Some("eu")));
    assert_eq!((config.pulse_interval_secs, config.sync_interval_secs, config.safe_mode_max_rps), (7, 9, 5));
    assert_eq!(config.safe_mode_strategy, SafeModeStrategy::LastPolicy);
    assert!(ws.gate(None, None).allowed);
    assert_eq!(ws.state().mode, GateMode::NeverSynced);

    let rows = frame.explain();
    let row = |key: &str| rows.iter().find(|row| row.key == key).unwrap();
    assert_eq!(
        (row("gate.secret_key").value.as_str(), row("gate.secret_key").layer),
        ("***", Layer::Environment)
    );
    assert_eq!(row("gate.base_url").value, "\"http://127.0.0.1:9\"");
    assert_eq!(row("gate.safe_mode_max_rps").layer, Layer::Environment);
    let shown = format!("{frame:?} {ws:?} {rows:?} {:?}", ws.state());
    assert!(!shown.contains(CANARY.1), "{shown}");
    // The control plane is not there, so the last report does not arrive, which is told.
    assert!(!frame.close().unwrap_err().chain().contains(CANARY.1));
}

#[test]
fn a_reload_keeps_a_gate_whose_settings_are_the_same_and_replaces_another() {
    let (_dir, file) = written(TABLE);
    let frame = frame(&file, &[CANARY]).unwrap();
    let first = frame.gate().unwrap();

    assert!(!frame.reload().unwrap().gate_changed);
    assert_eq!(frame.gate().unwrap().instance_id(), first.instance_id());

    for broken in ["pulse_interval_secs = 0\n", "site_id = \"a/b\"\n", "safe_mode_strategy = \"opne\"\n"] {
        fs::write(&file, format!("{TABLE}{broken}")).unwrap();
        let error = frame.reload().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{broken}");
        assert!(error.chain().contains("gate") && error.hint_text().is_some(), "{}", error.chain());
        assert_eq!(frame.gate().unwrap().instance_id(), first.instance_id());
    }

    fs::write(&file, format!("{TABLE}site_id = \"eu\"\n")).unwrap();
    assert!(frame.reload().unwrap().gate_changed);
    assert_ne!(frame.gate().unwrap().instance_id(), first.instance_id());
    assert!(first.gate(None, None).allowed, "who holds the first one may go on with it");

    fs::write(&file, "").unwrap();
    assert!(without_secret(&file).reload().is_ok());
}

/// A frame without the environment that the others have.
fn without_secret(file: &Path) -> Leverframe {
    frame(file, &[]).unwrap()
}

#[test]
fn a_configuration_without_a_gate_says_how_to_have_one() {
    let (_dir, file) = written("");

    let error = without_secret(&file).gate().unwrap_err();

    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("[gate]")));
}

#[test]
fn settings_of_a_gate_that_make_no_sense_name_their_key() {
    let refused = |text: &str, environment: &[(&str, &str)]| -> Error {
        let (_dir, file) = written(text);
        frame(&file, environment).unwrap_err()
    };

    for (text, told) in [
        (TABLE, "secret_key"),
        ("[gate]\nsecret_key = \"wsk_canary\"\n", "publish_key"),
        ("[gate]\nsecrt_key = \"wsk_canary\"\n", "secrt_key"),
        ("[gate]\nsecret_key = 17\npulse_interval_secs = \"wsk_canary\"\n", "gate."),
    ] {
        let error = refused(text, &[]);
        assert!(error.chain().contains(told) && error.hint_text().is_some(), "{}", error.chain());
        assert!(!format!("{} {error:?}", error.chain()).contains("canary"), "{}", error.chain());
    }
    let error = refused(&format!("{TABLE}safe_mode_strategy = \"fixed_rsp\"\n"), &[CANARY]);
    assert_eq!(error.hint_text(), Some("did you mean `fixed_rps`?"));
}
