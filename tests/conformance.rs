//! Every built-in backend and every double keeps every clause.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use leverframe::{
    ErrorKind,
    backends::{
        cache_file::{FileCache, FileCacheConfig},
        cache_memory::MemoryCache,
        clock_system::SystemClock,
        layers,
    },
    document::{Content, Tree},
    live::block_on,
    sources::file::{FileConfig, FileSource},
    testing::{
        Answer, ManualClock, RecordingSink, ScriptedSource, ScriptedTransport,
        conformance::{cache, clock, sink, source, transport},
    },
    traits::Clock,
};

mod clocks {
    use super::*;

    fn system() -> clock::Fixture<SystemClock> {
        clock::Fixture::new(SystemClock::new(), SystemClock::new(), |time| {
            let clock = SystemClock::new();
            block_on(clock.sleep_until(clock.now() + time));
        })
    }

    fn manual() -> clock::Fixture<ManualClock> {
        let clock = ManualClock::new();
        let hand = clock.clone();
        clock::Fixture::new(clock.clone(), clock, move |time: Duration| hand.advance(time))
    }

    leverframe::clock_conformance!(system_clock, system);
    leverframe::clock_conformance!(manual_clock, manual);
}

mod caches {
    use super::*;

    fn memory() -> cache::Fixture<MemoryCache> {
        cache::Fixture::new(MemoryCache::default())
    }

    fn file() -> cache::Fixture<FileCache> {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("cache");
        let mut config = FileCacheConfig::default();
        config.dir = place.clone();
        cache::Fixture::new(FileCache::open(config).unwrap())
            .with_damage(move |key| {
                let path = place.join(format!("{key}.entry"));
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).unwrap();
            })
            .keeping(dir)
    }

    leverframe::cache_conformance!(memory_cache, memory);
    leverframe::cache_conformance!(file_cache, file);
}

mod sources {
    use super::*;

    struct Directory {
        dir: tempfile::TempDir,
        count: usize,
    }

    impl Directory {
        fn root(&self) -> PathBuf {
            self.dir.path().join("place")
        }
    }

    impl source::Place for Directory {
        fn change(&mut self) {
            self.count += 1;
            fs::write(self.root().join("flags/a.toml"), format!("count = {}", self.count)).unwrap();
        }

        fn break_it(&mut self) -> bool {
            fs::rename(self.root(), self.dir.path().join("away")).unwrap();
            true
        }

        fn mend(&mut self) {
            fs::rename(self.dir.path().join("away"), self.root()).unwrap();
        }

        fn tells(&self) -> bool {
            true
        }
    }

    fn directory() -> source::Fixture<FileSource> {
        let mut place = Directory { dir: tempfile::tempdir().unwrap(), count: 0 };
        fs::create_dir_all(place.root().join("flags")).unwrap();
        source::Place::change(&mut place);
        source::Fixture::new(FileSource::open(FileConfig::at(place.root())), place)
    }

    struct Archive(Directory);

    impl source::Place for Archive {
        fn change(&mut self) {
            self.0.count += 1;
            let beside = self.0.dir.path().join("new");
            fs::write(&beside, format!("archive {}", self.0.count)).unwrap();
            fs::rename(beside, self.0.root()).unwrap();
        }

        fn break_it(&mut self) -> bool {
            self.0.break_it()
        }

        fn mend(&mut self) {
            self.0.mend();
        }

        fn tells(&self) -> bool {
            true
        }
    }

    fn archive() -> source::Fixture<FileSource> {
        let mut place = Archive(Directory { dir: tempfile::tempdir().unwrap(), count: 0 });
        source::Place::change(&mut place);
        source::Fixture::new(FileSource::open(FileConfig::at(place.0.root())), place)
    }

    struct Script(ScriptedSource, usize);

    impl source::Place for Script {
        fn change(&mut self) {
            self.1 += 1;
            self.0.set(Content::Tree([("flags/a.toml", self.1.to_string())].into_iter().collect::<Tree>()));
        }

        fn break_it(&mut self) -> bool {
            self.0.fail(ErrorKind::Unavailable);
            true
        }

        fn mend(&mut self) {
            self.0.mend();
        }

        fn tells(&self) -> bool {
            true
        }
    }

    fn scripted() -> source::Fixture<ScriptedSource> {
        let source = ScriptedSource::new(Content::Tree(Tree::new()));
        source::Fixture::new(source.clone(), Script(source, 0))
    }

    leverframe::source_conformance!(file_directory, directory);
    leverframe::source_conformance!(file_archive, archive);
    leverframe::source_conformance!(scripted_source, scripted);
}

mod transports {
    use super::*;

    struct Script(ScriptedTransport, usize);

    impl transport::Peer for Script {
        fn arrange(&mut self, answer: Answer) -> Option<Uri> {
            self.1 += 1;
            let path = format!("/{}", self.1);
            self.0.answer(&path, answer);
            Some(format!("http://peer{path}").parse().unwrap())
        }

        fn unreachable(&mut self) -> Option<Uri> {
            Some("http://peer/nowhere".parse().unwrap())
        }
    }

    fn scripted() -> transport::Fixture<ScriptedTransport> {
        let transport = ScriptedTransport::new();
        transport::Fixture::new(transport.clone(), Script(transport, 0))
    }

    /// All layers, but with one attempt: what is tried again is told as exhausted, which T6 forbids a transport.
    fn layered() -> transport::Fixture<layers::Observe> {
        let script = ScriptedTransport::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let timeout = layers::Timeout::new(Arc::new(script.clone()), Arc::clone(&clock));
        let mut once = layers::RetryPolicy::default();
        once.attempts = 1;
        let retry = layers::Retry::new(Arc::new(timeout), Arc::clone(&clock)).policy(once);
        transport::Fixture::new(layers::Observe::new(Arc::new(retry), clock), Script(script, 0))
    }

    leverframe::transport_conformance!(scripted_transport, scripted);
    leverframe::transport_conformance!(layered_transport, layered);
}

mod sinks {
    use super::*;

    struct Memory(RecordingSink);

    impl sink::Downstream for Memory {
        fn received(&self) -> Vec<String> {
            self.0.sent().iter().map(|r| r.flag_key.to_string()).collect()
        }

        fn set_broken(&mut self, broken: bool) {
            self.0.set_broken(broken);
        }
    }

    fn recording() -> sink::Fixture<RecordingSink> {
        let sink = RecordingSink::new(1_000);
        sink::Fixture::new(sink.clone(), Memory(sink))
    }

    leverframe::sink_conformance!(recording_sink, recording);
}
