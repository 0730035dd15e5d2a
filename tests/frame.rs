//! One handle for a configuration: several namespaces, reloading, what is kept and trusted.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/shop.rs"]
mod shop;

use std::{fs, path::Path};

use leverframe::{ErrorKind, EvalContext, Leverframe, config::Config, gate::limiter::Priority, live::Origin};
use shop::{files, packed, served, written};

fn frame(file: &Path) -> leverframe::Result<Leverframe> {
    Leverframe::builder().config(Config::builder().file(file)).build()
}

fn table(name: &str, place: &Path) -> String {
    format!("[flags.{name}]\nuri = \"file://{}\"\nenvironment = \"production\"\n", place.display())
}

#[test]
fn several_namespaces_stand_side_by_side_and_each_is_evaluated_in_its_environment() {
    let (one, two, dir) = (written(&files(1)), written(&files(2)), tempfile::tempdir().unwrap());
    let file = dir.path().join("leverframe.toml");
    fs::write(&file, table("one", one.path()) + &table("two", two.path())).unwrap();

    let frame = frame(&file).unwrap();

    assert_eq!(frame.names(), ["one", "two"]);
    assert_eq!(served(&frame.namespace("one").unwrap()), 1);
    assert_eq!(served(&frame.namespace("two").unwrap()), 2);
    #[cfg(feature = "async-tokio")]
    assert_eq!(frame.flags("two").unwrap().int_flag_sync("limit", &EvalContext::builder().build(), 0), 2);
    let error = frame.namespace("tow").unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (ErrorKind::NotFound, Some("did you mean `two`?")));
    let metrics = frame.metrics();
    assert!(metrics.contains("leverframe_feed_version{feed=\"two\"} 1"), "{metrics}");
    frame.close().unwrap();
}

#[test]
fn a_reload_builds_what_changed_leaves_the_rest_and_changes_nothing_if_it_fails() {
    let (one, two, three) = (written(&files(1)), written(&files(2)), written(&files(3)));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    fs::write(
        &file,
        table("kept", one.path()) + &table("changed", two.path()) + &table("removed", two.path()),
    )
    .unwrap();
    let frame = frame(&file).unwrap();
    let kept = frame.namespace("kept").unwrap();

    fs::write(
        &file,
        table("kept", one.path()) + &table("changed", three.path()) + &table("added", one.path()),
    )
    .unwrap();
    let reloaded = frame.reload().unwrap();

    assert_eq!((reloaded.kept, reloaded.changed), (vec!["kept".to_owned()], vec!["changed".to_owned()]));
    assert_eq!((reloaded.added, reloaded.removed), (vec!["added".to_owned()], vec!["removed".to_owned()]));
    assert_eq!(served(&frame.namespace("changed").unwrap()), 3);
    assert!(frame.namespace("removed").is_err());
    // The one that was kept is the same one, still refreshed.
    kept.refresh().unwrap();
    assert_eq!(frame.namespace("kept").unwrap().flag_version(), kept.flag_version());

    for broken in ["[flags.kept]\nuri = 1\n", "not TOML [", &table("kept", Path::new("/does/not/exist"))] {
        fs::write(&file, broken).unwrap();
        assert!(frame.reload().is_err(), "{broken}");
        assert_eq!(frame.names(), ["added", "changed", "kept"]);
        assert_eq!(served(&frame.namespace("changed").unwrap()), 3);
    }
    frame.close().unwrap();
}

#[test]
fn what_a_cache_keeps_is_served_after_a_restart_without_the_source() {
    let (place, cache, dir) =
        (written(&files(4)), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("leverframe.toml");
    let cached =
        format!("[cache]\nuse = \"file\"\n[cache.file]\ndir = \"{}\"\n", cache.path().join("c").display());
    fs::write(&file, cached + &table("shop", place.path())).unwrap();
    frame(&file).unwrap().close().unwrap();

    drop(place);
    let frame = frame(&file).unwrap();

    let status = frame.namespace("shop").unwrap().status();
    assert_eq!((served(&frame.namespace("shop").unwrap()), status.origin), (4, Origin::Kept));
    assert!(status.last_error.is_some());
}

#[test]
fn a_baseline_of_the_configuration_is_the_last_step() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    let baseline = dir.path().join("shop.tar.gz");
    fs::write(&baseline, packed(9)).unwrap();
    let text = table("shop", Path::new("/does/not/exist"));
    fs::write(&file, format!("{text}baseline = \"{}\"\n", baseline.display())).unwrap();

    let frame = frame(&file).unwrap();

    assert_eq!(frame.namespace("shop").unwrap().status().origin, Origin::Baseline);
}

#[cfg(feature = "signed")]
#[test]
fn trusted_keys_of_the_configuration_are_asked_for() {
    use leverframe::{
        document::Entry,
        manifest::{
            Fingerprint,
            signature::{FILE_NAME, Signature, SigningKey},
        },
    };
    let key = SigningKey::generate().unwrap();
    let mut tree = files(1);
    let mut signature = Signature::new("shop", &Fingerprint::of(&tree), 1);
    signature.sign(&key);
    tree.insert(FILE_NAME, Entry::File(signature.to_string().into()));
    let (signed, unsigned, dir) = (written(&tree), written(&files(1)), tempfile::tempdir().unwrap());
    let file = dir.path().join("leverframe.toml");
    let build = |place: &Path, keys: &str| {
        fs::write(&file, format!("{}trusted_keys = [{keys}]\n", table("shop", place))).unwrap();
        frame(&file)
    };
    let quoted = format!("\"{}\"", key.public());

    assert_eq!(served(&build(signed.path(), &quoted).unwrap().namespace("shop").unwrap()), 1);
    let error = build(unsigned.path(), &quoted).unwrap_err();
    assert!(error.to_string().contains("verify the signature"), "{error}");
    let error = build(signed.path(), "\"lvf-pub-nonsense\"").unwrap_err();
    assert!(error.to_string().contains("flags.shop.trusted_keys"), "{error}");
}

#[test]
fn settings_of_a_namespace_that_make_no_sense_name_their_key() {
    let place = written(&files(1));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leverframe.toml");
    for (line, key) in [
        ("stale = \"wran\"", "flags.shop.stale"),
        ("baseline = \"/does/not/exist\"", "flags.shop.baseline"),
        ("source = \"htps\"", "source"),
    ] {
        fs::write(&file, format!("{}{line}\n", table("shop", place.path()))).unwrap();
        let error = frame(&file).unwrap_err();
        assert!(error.chain().contains(key), "{line}: {error}");
        assert!(error.hint_text().is_some(), "{line}: {error}");
    }
}

#[test]
fn a_limiter_has_its_bounds_from_a_flag_and_goes_on_across_a_reload() {
    let (one, dir) = (written(&files(3)), tempfile::tempdir().unwrap());
    let file = dir.path().join("leverframe.toml");
    let limits = "[limits.database]\nmax = 64\nlow = [\"crawl\"]\nlimit_flag = \"limit\"\nflags = \"one\"\n";
    let other = "[limits.other]\ninitial = 7\n";
    fs::write(&file, table("one", one.path()) + limits + other).unwrap();
    let frame = frame(&file).unwrap();
    let limiter = frame.limiter("database").unwrap();
    let snapshot = limiter.snapshot();
    assert_eq!((snapshot.limit, snapshot.max, snapshot.source_error), (3, 3, None), "the flag says 3");
    assert_eq!(limiter.priority_of(Some("crawl")), Priority::Low);
    let _under_way = limiter.acquire(None, None).unwrap();

    fs::write(&file, table("one", one.path()) + limits + "[limits.other]\ninitial = 8\n").unwrap();
    frame.reload().unwrap();

    assert_eq!(frame.limiter("database").unwrap().snapshot().in_flight, 1, "the same limiter");
    assert_eq!(frame.limiter("other").unwrap().snapshot().limit, 8, "another");
    let error = frame.limiter("databse").unwrap_err();
    assert_eq!((error.kind(), error.hint_text()), (ErrorKind::NotFound, Some("did you mean `database`?")));
    frame.close().unwrap();
}

#[test]
fn settings_of_a_limiter_that_make_no_sense_name_their_key() {
    let one = written(&files(1));
    for (limits, key) in [
        ("max = 4\ninitial = 5\n", "limits.database"),
        ("min = 0\n", "limits.database"),
        ("max = 99999999999\n", "limits.database"),
        ("limit_flag = \"limit\"\n", "limits.database.flags"),
        ("limit_flag = \"limit\"\nflags = \"tow\"\n", "limits.database.flags"),
        ("limit_flag = \"limit\"\nflags = \"one\"\ncontext = [\"host\"]\n", "limits.database.context"),
        ("maximum = 4\n", "limits.database.maximum"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("leverframe.toml");
        fs::write(&file, table("one", one.path()) + "[limits.database]\n" + limits).unwrap();

        let error = frame(&file).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Config, "{limits}");
        assert!(error.to_string().contains(key), "{limits}{error}");
        assert!(error.hint_text().is_some(), "{limits}");
    }
}
