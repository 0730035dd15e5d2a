//! What the fuzz targets assert holds for every seed, and for what is too large or too deep to be one.

use std::{fs, path::Path};

#[path = "../fuzz/invariants/mod.rs"]
#[expect(unreachable_pub, reason = "shared with the fuzz targets, where it is a crate of its own")]
mod invariants;

/// One test for each target, and one that no target is forgotten.
macro_rules! targets {
    ($($target:ident)+) => {
        $(#[test]
        fn $target() {
            hold(stringify!($target), invariants::$target);
        })+

        #[test]
        fn every_target_has_a_test_and_a_fuzz_target() {
            let names: Vec<&str> = invariants::ALL.iter().map(|(name, _)| *name).collect();

            assert_eq!(names, [$(stringify!($target)),+]);
            assert_eq!(stems("fuzz/fuzz_targets"), names);
            assert_eq!(stems("fuzz/seeds"), names);
        }
    };
}

targets!(archive cache_entry config_environment config_file context exdignore file_uri fixtures manifest semver sse);

#[track_caller]
#[expect(clippy::print_stderr, reason = "a test's own words, which are shown if it fails")]
fn hold(target: &str, invariant: invariants::Invariant) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> =
        fs::read_dir(&folder).expect("seeds").map(|item| item.expect("seed").path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 3, "{} seeds in {}", seeds.len(), folder.display());
    for seed in seeds {
        let data = fs::read(&seed).expect("a seed");
        // The name is shown if the test fails: the harness keeps what passes to itself.
        eprintln!("{}", seed.display());
        invariant(&data);
    }
    invariant(&[]);
}

fn stems(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut stems: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|item| item.expect("an item").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    stems.sort();
    stems
}
