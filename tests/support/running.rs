//! A namespace that runs while the place it is loaded from is made unusable and whole again.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use allocation_counter::{AllocationInfo, measure};
use flate2::{Compression, GzBuilder};
use leverframe::{
    EvalContext, LoadError, Namespace, backends::clock_system::SystemClock, document::Tree,
    manifest::archive, traits::Clock,
};

/// What one refusal may take: far more than it needs, far less than what the bombs would.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most memory that one refusal may hold at once.
const MEMORY: u64 = 192_000_000;

/// The text of `flags/tier.toml` with its value.
pub(crate) fn tier(value: i64) -> String {
    format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\n[flag.variants]\nonly = {value}\n[flag.environments._]\nvariant = \"only\"\n"
    )
}

pub(crate) const NAMESPACE: &str = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n";

/// Writes a whole namespace to `root`, which must not exist.
pub(crate) fn write_namespace(root: &Path, value: i64) {
    fs::create_dir_all(root.join("flags")).unwrap();
    fs::create_dir_all(root.join("segments")).unwrap();
    fs::write(root.join("namespace.toml"), NAMESPACE).unwrap();
    fs::write(root.join("flags/tier.toml"), tier(value)).unwrap();
}

/// Makes the archive of a whole namespace.
pub(crate) fn archive_of(value: i64) -> Vec<u8> {
    let tree: Tree =
        [("namespace.toml", NAMESPACE.to_owned()), ("flags/tier.toml", tier(value))].into_iter().collect();
    archive::pack(&tree).unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns the value that is served.
pub(crate) fn value(namespace: &Namespace) -> i64 {
    namespace.eval_i64("tier", "production", &EvalContext::new()).unwrap()
}

/// A namespace served from a directory or an archive of its own.
pub(crate) struct Running {
    _dir: tempfile::TempDir,
    pub(crate) place: PathBuf,
    pub(crate) namespace: Namespace,
    in_archive: bool,
}

impl Running {
    pub(crate) fn from_directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("shop");
        write_namespace(&place, 7);
        Self { namespace: Namespace::from_dir(&place).unwrap(), _dir: dir, place, in_archive: false }
    }

    pub(crate) fn from_archive() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("shop-v1.tar.gz");
        fs::write(&place, archive_of(7)).unwrap();
        Self { namespace: Namespace::from_archive(&place).unwrap(), _dir: dir, place, in_archive: true }
    }

    pub(crate) fn tier(&self) -> PathBuf {
        self.place.join("flags/tier.toml")
    }

    /// Refreshes from the spoilt place: a clear error, within bounds, and nothing of what is served changes.
    #[track_caller]
    pub(crate) fn refuses(&self, case: &str, words: &[&str]) -> AllocationInfo {
        let clock = SystemClock::new();
        let (version, served) = (self.namespace.flag_version(), value(&self.namespace));
        let fingerprint = self.namespace.snapshot().snapshot.fingerprint.clone();
        let failures = self.namespace.status().consecutive_failures;
        let start = clock.now();

        let mut outcome = None;
        let cost = measure(|| outcome = Some(self.namespace.refresh()));
        let error = outcome.unwrap().map(|()| format!("{case}: loaded")).unwrap_err();

        assert!(clock.now() - start < PATIENCE, "{case}: took {:?}", clock.now() - start);
        assert!(cost.bytes_max < MEMORY, "{case}: held {} bytes", cost.bytes_max);
        let line = self.namespace.last_refresh_error().unwrap();
        for word in words {
            assert!(line.contains(word), "{case}: {line}");
        }
        assert!(line.len() < 2_000, "{case}: {} bytes of error", line.len());
        assert!(hint(&error).is_some(), "{case}: {line}");
        assert_eq!(self.namespace.flag_version(), version, "{case}");
        assert_eq!(value(&self.namespace), served, "{case}");
        assert_eq!(self.namespace.snapshot().snapshot.fingerprint, fingerprint, "{case}");
        assert_eq!(self.namespace.status().consecutive_failures, failures + 1, "{case}");
        let uri = format!("file://{}", self.place.display());
        assert!(Namespace::from_uri(uri).is_err(), "{case}: a first load passes");
        cost
    }

    /// Makes the place whole again, and refreshes from it.
    #[track_caller]
    pub(crate) fn recovers(&self, case: &str) {
        let (version, next) = (self.namespace.flag_version(), value(&self.namespace) + 1);
        clear(&self.place);
        if self.in_archive {
            fs::write(&self.place, archive_of(next)).unwrap();
        } else {
            write_namespace(&self.place, next);
        }

        if let Err(error) = self.namespace.refresh() {
            panic!("{case}: does not recover: {error}");
        }

        assert_eq!(self.namespace.last_refresh_error(), None, "{case}");
        assert_eq!(self.namespace.flag_version(), version + 1, "{case}");
        assert_eq!(value(&self.namespace), next, "{case}");
        assert_eq!(self.namespace.status().consecutive_failures, 0, "{case}");
    }

    /// The whole story: spoilt, refused, kept serving, mended, recovered.
    #[track_caller]
    pub(crate) fn survives(&self, case: &str, spoil: impl FnOnce(&Path), words: &[&str]) -> AllocationInfo {
        spoil(&self.place);
        let cost = self.refuses(case, words);
        self.recovers(case);
        cost
    }
}

/// Returns the next step that an error tells; a finding of lint tells its own.
fn hint(error: &LoadError) -> Option<String> {
    match error {
        LoadError::Lint(report) if report.errors().all(|d| d.help.is_none()) => {
            error.hint().map(str::to_owned)
        }
        LoadError::Lint(report) => report.errors().find_map(|d| d.help.clone()),
        _ => error.hint().map(str::to_owned),
    }
}

/// Removes whatever stands at `path`.
pub(crate) fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}
