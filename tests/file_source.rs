//! The file source tells of every way in which deployments and people change files, promptly where the operating
//! system tells of them, and by the look at the metadata everywhere.
#![cfg(all(unix, feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{
    fs::{self, File},
    future::{Future, poll_fn},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, UNIX_EPOCH},
};

use leverframe::{
    EvalContext, EvalError, LoadOptions, Namespace,
    backends::clock_system::SystemClock,
    document::{Content, Document, Revision},
    live::block_on,
    manifest::archive,
    sources::file::{FileConfig, FileSource},
    testing::ManualClock,
    traits::{Clock, Load, Source},
};

/// The longest that anything may take before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than the source's interval between looks and the pause that it gives a change to settle.
const A_LOOK: Duration = Duration::from_secs(2);

fn tier(value: i64) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    )
}

const NAMESPACE: &str = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n";

fn write_namespace(root: &Path, value: i64) {
    fs::create_dir_all(root.join("flags")).unwrap();
    fs::write(root.join("namespace.toml"), NAMESPACE).unwrap();
    fs::write(root.join("flags/tier.toml"), tier(value)).unwrap();
}

fn packed(value: i64) -> Vec<u8> {
    let files = [("namespace.toml", NAMESPACE.to_owned()), ("flags/tier.toml", tier(value))];
    archive::pack(&files.into_iter().collect()).unwrap()
}

/// Turns a link in one step, as deployments do.
fn turn(link: &Path, target: &str) {
    let beside = link.with_file_name("..turning");
    symlink(target, &beside).unwrap();
    fs::rename(&beside, link).unwrap();
}

/// A way to lay files out, and a way to change them from value 7 to value 8.
struct Way {
    name: &'static str,
    /// Makes the place below the directory given, and returns its path.
    lay: fn(&Path) -> PathBuf,
    /// Gets the path of the place.
    change: fn(&Path),
}

fn directory(dir: &Path) -> PathBuf {
    let place = dir.join("shop");
    write_namespace(&place, 7);
    place
}

fn archive_file(dir: &Path) -> PathBuf {
    let place = dir.join("shop-v1.tar.gz");
    fs::write(&place, packed(7)).unwrap();
    place
}

/// What the kubelet makes of a ConfigMap with the keys' paths given: dated directories, one link that is turned, and
/// links through it under the names that people use.
fn config_map(dir: &Path) -> PathBuf {
    let place = dir.join("shop");
    write_namespace(&place.join("..2026_01_01_00_00_00.1"), 7);
    symlink("..2026_01_01_00_00_00.1", place.join("..data")).unwrap();
    symlink("..data/namespace.toml", place.join("namespace.toml")).unwrap();
    symlink("..data/flags", place.join("flags")).unwrap();
    place
}

fn releases(dir: &Path) -> PathBuf {
    write_namespace(&dir.join("releases/1"), 7);
    symlink("releases/1", dir.join("current")).unwrap();
    dir.join("current")
}

/// The link stands above the namespace, not in its place.
fn below_a_link(dir: &Path) -> PathBuf {
    write_namespace(&dir.join("releases/1/shop"), 7);
    symlink("releases/1", dir.join("current")).unwrap();
    dir.join("current/shop")
}

const WAYS: &[Way] = &[
    Way {
        name: "an edit in place",
        lay: directory,
        change: |place| fs::write(place.join("flags/tier.toml"), tier(8)).unwrap(),
    },
    Way {
        name: "an editor's rename over the file",
        lay: directory,
        change: |place| {
            let beside = place.join("flags/.tier.toml.swp");
            fs::write(&beside, tier(8)).unwrap();
            fs::rename(beside, place.join("flags/tier.toml")).unwrap();
        },
    },
    Way {
        name: "an editor's backup, then a new file",
        lay: directory,
        change: |place| {
            fs::rename(place.join("flags/tier.toml"), place.join("flags/tier.toml~")).unwrap();
            fs::write(place.join("flags/tier.toml"), tier(8)).unwrap();
        },
    },
    Way {
        name: "a copy that keeps size and time",
        lay: |dir| {
            let place = directory(dir);
            let file = File::options().write(true).open(place.join("flags/tier.toml")).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
            place
        },
        change: |place| {
            let path = place.join("flags/tier.toml");
            let before = fs::metadata(&path).unwrap();
            fs::write(&path, tier(8)).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_eq!((after.len(), after.modified().unwrap()), (before.len(), before.modified().unwrap()));
        },
    },
    Way {
        name: "the directory replaced by rename",
        lay: directory,
        change: |place| {
            let (beside, away) = (place.with_file_name("new"), place.with_file_name("old"));
            write_namespace(&beside, 8);
            fs::rename(place, away).unwrap();
            fs::rename(beside, place).unwrap();
        },
    },
    Way {
        name: "the folder replaced by rename",
        lay: directory,
        change: |place| {
            write_namespace(&place.with_file_name("new"), 8);
            fs::rename(place.join("flags"), place.with_file_name("old")).unwrap();
            fs::rename(place.with_file_name("new").join("flags"), place.join("flags")).unwrap();
        },
    },
    Way {
        name: "a ConfigMap's link turned",
        lay: config_map,
        change: |place| {
            write_namespace(&place.join("..2026_01_02_00_00_00.2"), 8);
            turn(&place.join("..data"), "..2026_01_02_00_00_00.2");
            fs::remove_dir_all(place.join("..2026_01_01_00_00_00.1")).unwrap();
        },
    },
    Way {
        name: "a link turned to another release",
        lay: releases,
        change: |place| {
            write_namespace(&place.with_file_name("releases").join("2"), 8);
            turn(place, "releases/2");
        },
    },
    Way {
        name: "a link above turned to another release",
        lay: below_a_link,
        change: |place| {
            let link = place.parent().unwrap();
            write_namespace(&link.with_file_name("releases").join("2/shop"), 8);
            turn(link, "releases/2");
        },
    },
    Way {
        name: "an archive replaced by rename",
        lay: archive_file,
        change: |place| {
            let beside = place.with_file_name("new");
            fs::write(&beside, packed(8)).unwrap();
            fs::rename(beside, place).unwrap();
        },
    },
    Way {
        name: "an archive written over",
        lay: archive_file,
        change: |place| fs::write(place, packed(8)).unwrap(),
    },
];

/// Waits for `future` by the system's clock, and panics if it does not come.
fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let clock = SystemClock::new();
    let mut limit = clock.sleep_until(clock.now() + PATIENCE);
    let mut future = pin!(future);
    let outcome = block_on(poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| None),
    }));
    outcome.unwrap_or_else(|| panic!("{what} did not come within {PATIENCE:?}"))
}

fn poll_once<T>(future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn whole(source: &FileSource, since: Option<&Revision>) -> Document {
    match block_on(source.load(since)).unwrap() {
        Load::Snapshot(document) => document,
        other => panic!("not a snapshot: {other:?}"),
    }
}

/// A clock whose time of day is the files' own time plus a day, so that no file counts as just written.
fn a_day_later() -> ManualClock {
    let clock = ManualClock::new();
    clock.set_wall(SystemClock::new().wall() + Duration::from_secs(86_400));
    clock
}

/// Opens the place so that notice can only come of the looks that the manual clock drives: the notifier, where there
/// is one, wakes nobody who does not poll.
fn looking(place: &Path) -> (FileSource, ManualClock) {
    let clock = a_day_later();
    (FileSource::open_with_clock(FileConfig::at(place), Arc::new(clock.clone())), clock)
}

#[test]
fn every_way_of_changing_files_is_seen_by_the_look_at_the_metadata() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let place = (way.lay)(dir.path());
        let (source, clock) = looking(&place);
        let old = whole(&source, None);
        let mut changed = pin!(source.changed());
        assert!(poll_once(changed.as_mut()).is_pending(), "{}: told of nothing", way.name);
        clock.advance(A_LOOK);
        assert!(poll_once(changed.as_mut()).is_pending(), "{}: told of nothing after a look", way.name);

        (way.change)(&place);
        clock.advance(A_LOOK);
        assert!(
            poll_once(changed.as_mut()).is_pending(),
            "{}: told before the change could settle",
            way.name
        );
        clock.advance(A_LOOK);

        assert!(matches!(poll_once(changed.as_mut()), Poll::Ready(Ok(()))), "{}: not told", way.name);
        let new = whole(&source, Some(old.revision()));
        assert_ne!(new.content(), old.content(), "{}", way.name);
        assert!(poll_once(pin!(source.changed())).is_pending(), "{}: told twice", way.name);
    }
}

#[test]
fn a_change_between_a_load_and_the_wait_is_not_lost() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let place = (way.lay)(dir.path());
        let source = FileSource::open(FileConfig::at(&place));
        let old = whole(&source, None);

        (way.change)(&place);
        within(way.name, source.changed()).unwrap();

        assert_ne!(whole(&source, Some(old.revision())).content(), old.content(), "{}", way.name);
    }
}

#[cfg(feature = "watch")]
#[test]
fn every_way_of_changing_files_is_told_by_the_operating_system_without_a_look() {
    // Nothing is watched above the directory that the path's last name stands in: that takes a look.
    for way in WAYS.iter().filter(|way| !way.name.starts_with("a link above")) {
        let dir = tempfile::tempdir().unwrap();
        let place = (way.lay)(dir.path());
        let clock = a_day_later();
        let mut config = FileConfig::at(&place);
        config.check_interval_ms = 1_000_000_000;
        let source = FileSource::open_with_clock(config, Arc::new(clock.clone()));
        let old = whole(&source, None);
        let mut changed = pin!(source.changed());
        assert!(poll_once(changed.as_mut()).is_pending(), "{}", way.name);

        (way.change)(&place);
        let told = poll_fn(|cx| {
            let outcome = changed.as_mut().poll(cx);
            // The settling pause is the only sleep of less than the interval; it ends when the clock moves.
            clock.advance(Duration::from_millis(50));
            if outcome.is_pending() { changed.as_mut().poll(cx) } else { outcome }
        });
        within(way.name, told).unwrap();

        assert!(
            clock.now().since_origin() < Duration::from_secs(1_000_000),
            "{}: a look came first",
            way.name
        );
        assert_ne!(whole(&source, Some(old.revision())).content(), old.content(), "{}", way.name);
    }
}

#[test]
fn a_running_namespace_serves_every_change_by_itself() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let place = (way.lay)(dir.path());
        let namespace = Namespace::from_dir(&place).unwrap();
        // An hour, so that only notice can bring the change.
        let handle = namespace.start_periodic_refresh(Duration::from_secs(3_600));

        (way.change)(&place);
        let clock = SystemClock::new();
        let start = clock.now();
        let mut seen = 0;
        // What is served between the steps of a way may lack the flag.
        while value(&namespace) != Ok(8) {
            assert!(clock.now() - start < PATIENCE, "{}: {:?}", way.name, namespace.status());
            seen = within(way.name, async { namespace.wait_for_refresh(seen) });
        }

        assert_eq!(namespace.last_refresh_error(), None, "{}", way.name);
        handle.stop().unwrap();
    }
}

fn value(namespace: &Namespace) -> Result<i64, EvalError> {
    namespace.eval_i64("tier", "production", &EvalContext::new())
}

#[test]
fn files_that_come_and_go_are_changes() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let (source, clock) = looking(&place);
    let extra = place.join("flags/extra.toml");
    let segments = place.join("segments");

    for (case, change) in [
        ("added", &(|| fs::write(&extra, tier(1)).unwrap()) as &dyn Fn()),
        ("renamed", &|| fs::rename(&extra, place.join("flags/other.toml")).unwrap()),
        ("removed", &|| fs::remove_file(place.join("flags/other.toml")).unwrap()),
        ("a folder appears", &|| fs::create_dir(&segments).unwrap()),
        ("a file in it", &|| fs::write(segments.join("s.toml"), "").unwrap()),
        ("the folder goes", &|| fs::remove_dir_all(&segments).unwrap()),
        ("patterns", &|| fs::write(place.join(".exdignore"), "x").unwrap()),
        ("the declaration goes", &|| fs::remove_file(place.join("namespace.toml")).unwrap()),
    ] {
        let old = whole(&source, None);
        let mut changed = pin!(source.changed());
        assert!(poll_once(changed.as_mut()).is_pending(), "{case}: told of nothing");

        change();
        clock.advance(A_LOOK);
        assert!(poll_once(changed.as_mut()).is_pending(), "{case}: no time to settle");
        clock.advance(A_LOOK);

        assert!(poll_once(changed.as_mut()).is_ready(), "{case}: not told");
        assert_ne!(whole(&source, Some(old.revision())).content(), old.content(), "{case}");
    }
}

#[test]
fn a_log_that_grows_beside_the_flags_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let log = place.join("app.log");
    fs::write(&log, "started\n").unwrap();
    let (source, clock) = looking(&place);
    let document = whole(&source, None);
    let mut changed = pin!(source.changed());

    for line in 0..5 {
        fs::write(&log, "more and more\n".repeat(line)).unwrap();
        clock.advance(A_LOOK);
        assert!(poll_once(changed.as_mut()).is_pending());
    }

    assert_eq!(block_on(source.load(Some(document.revision()))).unwrap(), Load::Unchanged);
}

#[test]
fn a_place_that_goes_away_and_comes_back_is_told_both_times() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let away = dir.path().join("away");
    let (source, clock) = looking(&place);
    let old = whole(&source, None);
    let told = || {
        let mut changed = pin!(source.changed());
        (0..3).any(|_| {
            let ready = poll_once(changed.as_mut()).is_ready();
            clock.advance(A_LOOK);
            ready
        })
    };

    fs::rename(&place, &away).unwrap();
    assert!(told());
    let error = block_on(source.load(Some(old.revision()))).unwrap_err();
    assert!(error.to_string().contains("/shop"), "{error}");
    assert!(!told());
    fs::rename(&away, &place).unwrap();

    assert!(told());
    assert_eq!(block_on(source.load(Some(old.revision()))).unwrap(), Load::Unchanged);
}

#[test]
fn files_written_in_the_tick_of_the_load_are_read_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let clock = ManualClock::new();
    let written = fs::metadata(place.join("flags/tier.toml")).unwrap().modified().unwrap();
    clock.set_wall(written + Duration::from_millis(3));
    let source = FileSource::open_with_clock(FileConfig::at(&place), Arc::new(clock.clone()));
    let document = whole(&source, None);

    // An edit of equal size within the tick would leave no trace in the metadata, so the wait ends without one.
    let mut changed = pin!(source.changed());
    assert!(poll_once(changed.as_mut()).is_pending());
    clock.advance(A_LOOK);
    assert!(poll_once(changed.as_mut()).is_ready());

    assert_eq!(block_on(source.load(Some(document.revision()))).unwrap(), Load::Unchanged);
    let mut changed = pin!(source.changed());
    for _ in 0..3 {
        assert!(poll_once(changed.as_mut()).is_pending(), "told of nothing for ever");
        clock.advance(A_LOOK);
    }
}

#[test]
fn a_directory_swapped_again_and_again_is_never_served_in_a_mixture() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("shop");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for (root, value) in [(&place, 7), (&one, 8)] {
        write_namespace(root, value);
        for i in 0..20 {
            fs::write(root.join(format!("flags/f{i:02}.toml")), tier(value)).unwrap();
        }
    }
    let source = FileSource::open(FileConfig::at(&place));
    let mixed = |document: &Document| {
        let Content::Tree(tree) = document.content() else { panic!("not a tree") };
        let texts =
            tree.iter().filter(|(path, _)| path.starts_with("flags/")).map(|(path, _)| tree.file(path));
        let mut texts: Vec<_> = texts.collect();
        texts.dedup();
        texts.len() != 1
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut loads = 0;

    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Acquire) {
                fs::rename(&place, &two).unwrap();
                fs::rename(&one, &place).unwrap();
                fs::rename(&two, &one).unwrap();
                std::thread::yield_now();
            }
        });
        for _ in 0..300 {
            // Between two renames there is no such place; that is an error and not half a document.
            if let Ok(Load::Snapshot(document)) = block_on(source.load(None)) {
                loads += 1;
                if mixed(&document) {
                    stop.store(true, std::sync::atomic::Ordering::Release);
                    panic!("files of two directories in one document");
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
    });

    // The swapping may have kept every load from settling; at rest it does.
    assert!(loads > 0 || block_on(source.load(None)).is_ok());
}

#[test]
fn waits_that_are_dropped_lose_no_change_and_leave_no_sleeper() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let place = (way.lay)(dir.path());
        let (source, clock) = looking(&place);
        drop(source.load(None));
        let old = whole(&source, None);

        for _ in 0..3 {
            assert!(poll_once(pin!(source.changed())).is_pending(), "{}", way.name);
        }
        assert_eq!(clock.sleepers(), 0, "{}", way.name);
        (way.change)(&place);
        // Dropped in the middle of the settling pause, too.
        for _ in 0..3 {
            assert!(poll_once(pin!(source.changed())).is_pending(), "{}", way.name);
        }
        let mut changed = pin!(source.changed());
        assert!(poll_once(changed.as_mut()).is_pending(), "{}", way.name);
        clock.advance(A_LOOK);

        assert!(poll_once(changed.as_mut()).is_ready(), "{}: lost", way.name);
        drop(source.load(Some(old.revision())));
        assert_ne!(whole(&source, Some(old.revision())).content(), old.content(), "{}", way.name);
    }
}

#[test]
fn two_who_wait_are_both_told() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let (source, clock) = looking(&place);
    whole(&source, None);
    let (mut one, mut two) = (pin!(source.changed()), pin!(source.changed()));
    assert!(poll_once(one.as_mut()).is_pending() && poll_once(two.as_mut()).is_pending());

    fs::write(place.join("flags/tier.toml"), tier(8)).unwrap();
    clock.advance(A_LOOK);
    assert!(
        poll_once(one.as_mut()).is_pending() && poll_once(two.as_mut()).is_pending(),
        "no time to settle"
    );
    clock.advance(A_LOOK);

    assert!(poll_once(one.as_mut()).is_ready());
    whole(&source, None);
    assert!(poll_once(two.as_mut()).is_ready());
}

#[test]
fn a_namespace_follows_its_source_by_the_clock_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let place = directory(dir.path());
    let clock = a_day_later();
    let options = LoadOptions::new().with_clock(Arc::new(clock.clone()));
    let namespace =
        Namespace::from_uri_with_options(format!("file://{}", place.display()), &options).unwrap();
    let _handle = namespace.start_periodic_refresh(Duration::from_secs(3_600));

    fs::write(place.join("flags/tier.toml"), tier(8)).unwrap();
    let system = SystemClock::new();
    let start = system.now();
    while value(&namespace) != Ok(8) {
        assert!(system.now() - start < PATIENCE, "{:?}", namespace.status());
        clock.advance(Duration::from_millis(100));
        std::thread::yield_now();
    }

    assert_eq!(namespace.flag_version(), 2);
}
