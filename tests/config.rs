//! Layers, provenance, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use leverframe::{
    EvalContext, Leverframe,
    config::{Config, Layer},
    registry::Registry,
};

const NOTHING: [(&str, &str); 0] = [];

fn explain(config: &Config, key: &str) -> (String, Layer) {
    let row = config.explain().into_iter().find(|e| e.key == key).unwrap_or_else(|| panic!("no `{key}`"));
    (row.value, row.layer)
}

fn with_file(text: &str, environment: &[(&str, &str)]) -> leverframe::Result<Config> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, text).unwrap();
    Config::builder().file(file).environment(environment.iter().copied()).build()
}

#[test]
fn names_that_no_key_leads_to_are_refused() {
    for text in ["[flags.\"a.b\"]\ntypo = 1\n", "[flags.\"\"]\nuri = \"x\"\n"] {
        let error = with_file(text, &NOTHING).unwrap_err();

        assert!(error.chain().contains("a name is empty or has a dot"), "{}", error.chain());
        assert!(error.chain().contains("line: 1"), "{}", error.chain());
    }
    for name in ["LEVERFRAME_FLAGS__A.B__TYPO", "LEVERFRAME_CACHE____X", "LEVERFRAME_"] {
        assert!(with_file("", &[(name, "x")]).is_err(), "{name}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    for number in ["1e999", "-1e999", "9223372036854775808"] {
        let error = with_file(&format!("[cache.file]\nmax_entry_bytes = {number}\n"), &NOTHING).unwrap_err();

        assert!(error.chain().contains("does not fit 64 bits"), "{}", error.chain());
    }
    assert!(with_file("[source.file]\na = inf\nb = -inf\n", &NOTHING).is_ok());
}

#[test]
fn values_are_told_as_toml_without_user_info_and_query() {
    let text = "[source.file]\nc = 1e300\nd = nan\na = \"\\u0000\\u001b\\u007f\\n\\\"\"\nb = \"https://ann:hunter2@h/x?token=hunter2\"\n";

    let config = with_file(text, &NOTHING).unwrap();

    assert_eq!(explain(&config, "source.file.a").0, r#""\u0000\u001b\u007f\n\"""#);
    assert_eq!(explain(&config, "source.file.c").0, "1e300");
    assert_eq!(explain(&config, "source.file.d").0, "nan");
    assert_eq!(explain(&config, "source.file.b").0, "\"https://***@h/x?…\"");
}

#[test]
fn each_layer_wins_over_those_below_it() {
    let text = "[cache]\nuse = \"file\"\n[cache.file]\ndir = \"/from/file\"\nmax_entry_bytes = 7\n";
    let environment = [("LEVERFRAME_CACHE__FILE__DIR", "/from/environment")];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, text).unwrap();

    let config =
        Config::builder().set("cache.use", "memory").environment(environment).file(file).build().unwrap();

    assert_eq!(explain(&config, "cache.file.max_entry_bytes"), ("7".to_owned(), Layer::File));
    assert_eq!(explain(&config, "cache.file.dir"), ("\"/from/environment\"".to_owned(), Layer::Environment));
    assert_eq!(explain(&config, "cache.use"), ("\"memory\"".to_owned(), Layer::Code));
    assert_eq!(explain(&config, "clock.use"), ("\"system\"".to_owned(), Layer::Default));
}

#[test]
fn the_contract_variable_is_weaker_than_ours() {
    let contract = [("EXD_HTTP_BACKEND", "curl")];
    let both = [("EXD_HTTP_BACKEND", "curl"), ("LEVERFRAME_TRANSPORT__USE", "reqwest")];

    let contract = Config::builder().environment(contract).build().unwrap();
    let both = Config::builder().environment(both).build().unwrap();

    assert_eq!(explain(&contract, "transport.use").0, "\"curl_cli\"");
    assert_eq!(explain(&both, "transport.use").0, "\"reqwest\"");
}

#[test]
fn values_of_the_environment_become_numbers_where_numbers_are_asked_for_and_stay_strings_elsewhere() {
    let environment =
        [("LEVERFRAME_CACHE__MEMORY__MAX_ENTRIES", "12"), ("LEVERFRAME_CACHE__FILE__DIR", "0012345")];
    let config = Config::builder().environment(environment).build().unwrap();

    let memory: leverframe::backends::cache_memory::MemoryConfig = config.read("cache.memory").unwrap();
    let file: leverframe::backends::cache_file::FileCacheConfig = config.read("cache.file").unwrap();

    assert_eq!(memory.max_entries, 12);
    assert_eq!(file.dir, std::path::Path::new("0012345"));
}

#[test]
fn a_wrong_type_names_key_layer_and_line_and_not_the_value() {
    let config = with_file("[cache.memory]\nmax_entries = \"s3cret\"\n", &[]).unwrap();

    let error = config.read::<leverframe::backends::cache_memory::MemoryConfig>("cache.memory").unwrap_err();

    let shown = format!("{} {error:?}", error.chain());
    for word in ["cache.memory.max_entries", "layer: file", "line: 2"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn keys_that_nobody_knows_are_refused_with_the_nearest() {
    let registry = Registry::discover().unwrap();
    let cases = [
        ("[cahce]\nuse = \"file\"\n", "cahce", "did you mean `cache`?"),
        ("[flags.a]\nurii = \"x\"\n", "flags.a.urii", "did you mean `uri`?"),
        ("[cache.flie]\ndir = \"x\"\n", "cache.flie", "did you mean `file`?"),
        ("[cache.file]\ndri = \"x\"\n", "cache.file.dri", "did you mean `dir`?"),
    ];

    for (text, key, hint) in cases {
        let error = with_file(text, &[]).and_then(|config| config.check(&registry)).unwrap_err();
        assert!(error.chain().contains(key), "{}", error.chain());
        assert_eq!(error.hint_text(), Some(hint), "{key}");
    }
}

#[test]
fn a_file_that_is_no_toml_names_the_line_and_quotes_nothing() {
    let error = with_file("[cache]\nuse = \"file\ntoken = \"s3cret\"\n", &[]).unwrap_err();

    assert!(error.to_string().contains("line: 2"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn secrets_and_passwords_in_urls_are_not_explained() {
    let text = "[flags.a]\nuri = \"https://ann:hunter2@example.com/x\"\nenvironment = \"e\"\n";
    let config = with_file(text, &[("LEVERFRAME_TRANSPORT__CURL__API_TOKEN", "hunter2")]).unwrap();

    let shown = format!("{:?}", config.explain());

    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(explain(&config, "transport.curl.api_token").0, "***");
}

#[test]
fn a_frame_builds_namespaces_cache_and_clock_and_lists_what_it_has() {
    let uri = format!("file://{}/examples/namespaces/payments", env!("CARGO_MANIFEST_DIR"));
    let config = Config::builder()
        .environment(NOTHING)
        .set("flags.shop.uri", uri)
        .set("flags.shop.environment", "production");

    let frame = Leverframe::builder().config(config).build().unwrap();

    let ctx = EvalContext::builder().str("user.email", "ann@example.com").build();
    assert_eq!(frame.namespace("shop").unwrap().eval_bool("new-checkout", "production", &ctx), Ok(true));
    #[cfg(feature = "async-tokio")]
    assert!(frame.flags("shop").unwrap().bool_flag_sync("new-checkout", &ctx, false));
    let error = frame.namespace("shpo").unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean `shop`?"));
    assert_eq!(frame.cache().name(), "memory");
    frame.close().unwrap();
}

#[test]
fn a_frame_hands_each_backend_its_own_table() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    let cache = dir.path().join("cache").display().to_string();
    let text = format!(
        "[clock]\nuse = \"system\"\n[clock.system]\n[cache]\nuse = \"file\"\n[cache.file]\ndir = \"{cache}\"\n[cache.memory]\n"
    );
    fs::write(&file, text).unwrap();

    let frame = Leverframe::builder().config(Config::builder().file(file)).build().unwrap();

    assert_eq!(frame.cache().name(), "file");
    assert!(format!("{:?}", frame.cache()).contains(&cache), "{:?}", frame.cache());
}

#[test]
fn a_choice_of_the_wrong_type_names_its_key() {
    let config = Config::builder().set("cache.use", 7);

    let error = Leverframe::builder().config(config).build().unwrap_err().chain();

    assert!(error.contains("cache.use") && error.contains("it must be a string"), "{error}");
}

#[test]
fn a_frame_without_uri_or_environment_says_what_is_missing() {
    let build = |key: &str, value: &str| {
        let config = Config::builder().environment(NOTHING).set(key, value);
        Leverframe::builder().config(config).build().unwrap_err().to_string()
    };

    assert!(build("flags.a.environment", "production").contains("flags.a.uri"));
    assert!(build("flags.a.uri", "file:///x").contains("flags.a.environment"));
}

#[test]
fn without_naming_a_plug_in_crate_only_built_ins_are_registered() {
    let registry = Registry::discover().unwrap();

    assert!(registry.list().iter().all(|listed| listed.origin == "leverframe"));
}
