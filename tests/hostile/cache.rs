//! The file cache on a disk that is full, or in a directory that is not what it should be.

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use leverframe::{
    ErrorKind,
    backends::cache_file::{FileCache, FileCacheConfig},
    live::block_on,
    traits::{CacheEntry, CacheKey, CacheStore},
};

use crate::{fifo, sparse};

fn cache(dir: &Path) -> FileCache {
    let mut config = FileCacheConfig::default();
    config.dir = dir.to_owned();
    FileCache::open(config).unwrap()
}

fn key() -> CacheKey {
    CacheKey::new("flags.shop").unwrap()
}

fn entry(content: impl Into<Vec<u8>>) -> CacheEntry {
    CacheEntry::new(content.into(), UNIX_EPOCH + Duration::from_secs(1_780_000_000))
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Tells the process that runs under a limit of file sizes which directory to use.
const LIMITED: &str = "LEVERFRAME_TEST_LIMITED_CACHE";
const BLOCK: usize = 512;
const BLOCKS: usize = 16;

#[test]
#[expect(clippy::disallowed_methods, reason = "the parent hands the directory over by the environment")]
fn a_disk_that_fills_up_in_the_middle_of_a_write_leaves_the_old_entry() {
    if let Some(dir) = env::var_os(LIMITED) {
        return write_on_a_full_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    block_on(cache(dir.path()).put(&key(), entry("old"))).unwrap();

    // The limit makes `write` stop short and then fail, as on a full disk; ignored, its signal ends nobody.
    let child = Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; ulimit -f {BLOCKS}; exec \"$@\""), "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "cache::a_disk_that_fills_up_in_the_middle_of_a_write_leaves_the_old_entry"])
        .env(LIMITED, dir.path())
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    // What was put when there was room again, seen by another process.
    assert_eq!(block_on(cache(dir.path()).get(&key())).unwrap(), Some(entry("new")));
}

fn write_on_a_full_disk(dir: &Path) {
    let cache = cache(dir);
    // Shells count blocks of 512 or of 1024 bytes.
    let large = vec![b'x'; 3 * BLOCK * BLOCKS];

    for _ in 0..3 {
        let error = block_on(cache.put(&key(), entry(large.clone()))).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Io, "{}", error.chain());
        assert!(error.to_string().contains("flags.shop.entry"), "{error}");
        assert!(error.hint_text().unwrap().contains("free space"));
        assert_eq!(block_on(cache.get(&key())).unwrap(), Some(entry("old")));
        assert_eq!(names(dir), ["flags.shop.entry"], "a part of the new entry stays behind");
    }
    block_on(cache.put(&key(), entry("new"))).unwrap();
}

#[test]
fn a_cache_directory_that_went_away_is_an_error_and_one_that_returns_works() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("cache");
    let cache = cache(&place);
    block_on(cache.put(&key(), entry("old"))).unwrap();

    fs::rename(&place, dir.path().join("away")).unwrap();
    let error = block_on(cache.put(&key(), entry("new"))).unwrap_err();
    assert!(error.to_string().contains("flags.shop.entry"), "{error}");
    assert!(error.hint_text().is_some());
    fs::rename(dir.path().join("away"), &place).unwrap();

    assert_eq!(block_on(cache.get(&key())).unwrap(), Some(entry("old")));
    block_on(cache.put(&key(), entry("new"))).unwrap();
    assert_eq!(block_on(cache.get(&key())).unwrap(), Some(entry("new")));
}

#[test]
fn entries_that_are_no_entries_are_corrupt_and_never_waited_for_nor_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let place = dir.path().join("flags.shop.entry");

    for (case, spoil) in [
        ("pipe", &(|place: &Path| fifo(place)) as &dyn Fn(&Path)),
        ("gibibyte", &sparse),
        ("empty", &|place| fs::write(place, "").unwrap()),
        ("text", &|place| {
            fs::write(place, "hello, world, this is no entry at all, is it? No, it is not.").unwrap()
        }),
        ("link", &|place| std::os::unix::fs::symlink("/dev/zero", place).unwrap()),
    ] {
        spoil(&place);

        let mut outcome = None;
        let cost = allocation_counter::measure(|| outcome = Some(block_on(cache.get(&key()))));
        let error = outcome.unwrap().unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Corrupt, "{case}: {}", error.chain());
        assert!(error.to_string().contains("flags.shop.entry"), "{case}: {error}");
        assert!(error.hint_text().unwrap().contains("remove the entry"), "{case}");
        assert!(cost.bytes_total < 100_000, "{case}: {} bytes", cost.bytes_total);
        block_on(cache.put(&key(), entry(case))).unwrap();
        assert_eq!(block_on(cache.get(&key())).unwrap(), Some(entry(case)), "{case}");
        block_on(cache.remove(&key())).unwrap();
    }
}

#[test]
fn a_directory_in_the_place_of_an_entry_is_an_error_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    fs::create_dir(dir.path().join("flags.shop.entry")).unwrap();

    let error = block_on(cache.put(&key(), entry("new"))).unwrap_err();

    assert!(error.to_string().contains("flags.shop.entry"), "{error}");
    assert_eq!(names(dir.path()), ["flags.shop.entry"]);
    assert_eq!(block_on(cache.get(&key())).unwrap_err().kind(), ErrorKind::Corrupt);
}
