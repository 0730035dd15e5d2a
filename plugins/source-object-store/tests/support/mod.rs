//! Stores and peers of the tests.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part")]

#[path = "../../../../tests/support/real/certs.rs"]
pub mod certs;
pub mod peer;
pub mod s3;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use leverframe::{
    Error,
    testing::conformance::source,
    traits::{Load, Source},
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use source_object_store::ObjectStoreSource;

/// A place whose object the test writes and removes behind the source's back.
pub struct Place {
    store: Arc<dyn ObjectStore>,
    path: Path,
    secret: Option<String>,
    runtime: tokio::runtime::Runtime,
    count: usize,
    keep: Box<dyn Send + Sync>,
}

impl Place {
    /// Writes a first object.
    pub fn new(store: Arc<dyn ObjectStore>, path: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut place =
            Self { store, path: path.into(), secret: None, runtime, count: 0, keep: Box::new(()) };
        source::Place::change(&mut place);
        place
    }

    pub fn with_secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    pub fn keeping(mut self, keep: impl Send + Sync + 'static) -> Self {
        self.keep = Box::new(keep);
        self
    }

    pub fn put(&self, content: impl Into<object_store::PutPayload>) {
        self.runtime.block_on(self.store.put(&self.path, content.into())).unwrap();
    }
}

impl source::Place for Place {
    fn change(&mut self) {
        self.count += 1;
        self.put(format!("state {}", self.count));
    }

    fn break_it(&mut self) -> bool {
        self.runtime.block_on(self.store.delete(&self.path)).unwrap();
        true
    }

    fn mend(&mut self) {
        self.put(format!("state {}", self.count));
    }

    fn tells(&self) -> bool {
        false
    }

    fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }
}

/// A name that no other test of the process uses.
pub fn fresh_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("tests/{}/manifest.tar.gz", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Loads on a thread without any runtime.
pub fn load(source: &ObjectStoreSource) -> Result<Load, Error> {
    leverframe::live::block_on(source.load(None))
}

/// Everything that an error and its source show anywhere.
pub fn shown(error: &Error, source: &ObjectStoreSource) -> String {
    format!("{error} {error:?} {} {:?} {source:?}", error.chain(), error.hint_text())
}
