//! Signed namespaces: what is believed, and what is refused while the good state keeps serving.
#![cfg(all(feature = "testing", feature = "signed"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/shop.rs"]
mod shop;

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use leverframe::{
    ErrorKind, LoadError, LoadOptions, Namespace,
    backends::cache_memory::{MemoryCache, MemoryConfig},
    document::{Content, Entry, Tree},
    live::{Keep, Origin},
    manifest::{
        Fingerprint, archive,
        signature::{self, PublicKey, Signature, SigningKey, Trust},
    },
    testing::{ManualClock, ScriptedSource},
    traits::{CacheStore, Clock},
};
use proptest::prelude::*;
use shop::{files, served};

/// State `number`, signed by these keys with this counter.
fn signed(number: i64, counter: u64, keys: &[&SigningKey]) -> Tree {
    let tree = files(number);
    let mut signature = Signature::new("shop", &Fingerprint::of(&tree), counter);
    keys.iter().for_each(|key| signature.sign(key));
    with(tree, &signature)
}

fn with(mut tree: Tree, signature: &Signature) -> Tree {
    tree.insert(signature::FILE_NAME, Entry::File(signature.to_string().into()));
    tree
}

struct Bench {
    source: ScriptedSource,
    clock: ManualClock,
    store: Arc<dyn CacheStore>,
    trust: Trust,
}

impl Bench {
    fn new(keys: &[&SigningKey], threshold: usize, first: Tree) -> Self {
        Self {
            source: ScriptedSource::new(Content::Tree(first)),
            clock: ManualClock::new(),
            store: Arc::new(MemoryCache::new(MemoryConfig::default())),
            trust: Trust::new(keys.iter().map(|key| key.public()), threshold).unwrap(),
        }
    }

    fn open(&self) -> Result<Namespace, LoadError> {
        let options = LoadOptions::new()
            .with_clock(Arc::new(self.clock.clone()))
            .with_keep(Keep::in_store(Arc::clone(&self.store), "flags.shop").unwrap())
            .with_trust(self.trust.clone());
        Namespace::from_source(Arc::new(self.source.clone()), &options)
    }

    /// A tree that must be refused, and is: the old state serves, the error says why and what to do.
    fn refuses(&self, namespace: &Namespace, tree: Tree, why: &str) {
        let before = (served(namespace), namespace.flag_version());
        self.source.set(Content::Tree(tree));

        let error = namespace.refresh().unwrap_err();

        assert!(error.to_string().contains(why), "{error}");
        assert!(error.hint().is_some(), "{error}");
        assert_eq!((served(namespace), namespace.flag_version()), before);
        assert!(namespace.last_refresh_error().unwrap().contains(why));
    }
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[test]
fn only_what_a_trusted_key_signed_is_served() {
    let (ours, other) = (key(), key());
    let bench = Bench::new(&[&ours], 1, signed(1, 1, &[&ours]));
    let namespace = bench.open().unwrap();
    assert_eq!((served(&namespace), namespace.snapshot().snapshot.counter), (1, Some(1)));

    bench.refuses(&namespace, files(2), "there is none");
    bench.refuses(&namespace, signed(2, 2, &[&other]), "0 of 1 trusted signatures");
    let mut changed = signed(2, 2, &[&ours]);
    changed.insert("flags/limit.toml", files(3).get("flags/limit.toml").unwrap().clone());
    bench.refuses(&namespace, changed, "made for other files");
    let mut added = signed(2, 2, &[&ours]);
    added.insert("segments/more.toml", Entry::File("x".into()));
    bench.refuses(&namespace, added, "made for other files");
    let mut garbage = files(2);
    garbage.insert(signature::FILE_NAME, Entry::File("garbage".into()));
    bench.refuses(&namespace, garbage, "read the signature");

    bench.source.set(Content::Tree(signed(2, 2, &[&other, &ours])));
    namespace.refresh().unwrap();
    assert_eq!((served(&namespace), namespace.last_refresh_error()), (2, None));
}

#[test]
fn what_nobody_vouches_for_is_not_even_linted() {
    let ours = key();
    let bench = Bench::new(&[&ours], 1, signed(1, 1, &[&ours]));
    let namespace = bench.open().unwrap();
    let broken: Tree = [("flags/limit.toml", "not TOML at all [")].into_iter().collect();

    bench.refuses(&namespace, broken, "verify the signature");
}

#[test]
fn as_many_different_keys_must_sign_as_the_threshold_says() {
    let (a, b, c) = (key(), key(), key());
    let bench = Bench::new(&[&a, &b, &c], 2, signed(1, 1, &[&a, &c]));
    let namespace = bench.open().unwrap();

    bench.refuses(&namespace, signed(2, 2, &[&b]), "1 of 2 trusted signatures");
    let tree = files(2);
    let mut twice = Signature::new("shop", &Fingerprint::of(&tree), 2);
    twice.sign(&b);
    let line = twice.to_string();
    let again = line.split_once("\n[[signatures]]").unwrap().1;
    let mut doubled = tree.clone();
    doubled.insert(signature::FILE_NAME, Entry::File(format!("{line}\n[[signatures]]{again}").into()));
    bench.refuses(&namespace, doubled, "1 of 2 trusted signatures");

    bench.source.set(Content::Tree(signed(2, 2, &[&b, &c])));
    namespace.refresh().unwrap();
    assert_eq!(served(&namespace), 2);
}

#[test]
fn an_older_state_is_refused_also_by_the_process_that_comes_after() {
    let ours = key();
    let bench = Bench::new(&[&ours], 1, signed(5, 5, &[&ours]));
    let namespace = bench.open().unwrap();
    bench.refuses(&namespace, signed(4, 4, &[&ours]), "older than what was served");
    drop(namespace);

    // The source goes back; what is kept remembers.
    bench.source.set(Content::Tree(signed(3, 3, &[&ours])));
    let namespace = bench.open().unwrap();
    assert_eq!((served(&namespace), namespace.status().origin), (5, Origin::Kept));
    assert!(namespace.last_refresh_error().unwrap().contains("older"));
}

#[test]
fn a_kept_file_remembers_the_counter_as_well() {
    let ours = key();
    let dir = tempfile::tempdir().unwrap();
    let source = ScriptedSource::new(Content::Tree(signed(5, 5, &[&ours])));
    let options = LoadOptions::new()
        .with_trust(Trust::new([ours.public()], 1).unwrap())
        .with_keep(Keep::in_file(dir.path().join("shop.tar.gz")).fresh_for(Duration::ZERO));
    let open = || Namespace::from_source(Arc::new(source.clone()), &options).unwrap();
    assert_eq!(served(&open()), 5);

    source.set(Content::Tree(signed(4, 4, &[&ours])));

    assert_eq!(served(&open()), 5);
}

#[test]
fn what_is_kept_is_verified_like_anything_else() {
    let (ours, other) = (key(), key());
    let bench = Bench::new(&[&ours], 1, signed(1, 1, &[&ours]));
    drop(bench.open().unwrap());
    bench.source.fail(ErrorKind::Unavailable);
    assert_eq!(served(&bench.open().unwrap()), 1);

    // The key is no longer believed, so what it signed is not served any more; once it is again, it is.
    let believed = bench.trust.clone();
    let turned = Bench { trust: Trust::new([other.public()], 1).unwrap(), ..bench };
    assert_eq!(turned.open().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(served(&Bench { trust: believed, ..turned }.open().unwrap()), 1);
}

#[test]
fn a_signature_holds_until_it_expires_and_what_is_served_stays() {
    let ours = key();
    let clock = ManualClock::new();
    let tree = files(1);
    let mut until = Signature::new("shop", &Fingerprint::of(&tree), 1)
        .expiring(clock.wall() + Duration::from_secs(3_600))
        .unwrap();
    until.sign(&ours);
    let bench = Bench { clock: clock.clone(), ..Bench::new(&[&ours], 1, with(tree.clone(), &until)) };
    let namespace = bench.open().unwrap();

    clock.advance(Duration::from_secs(3_601));
    bench.refuses(&namespace, with(tree, &until), "expired");
    assert!(bench.open().is_err());
}

#[test]
fn a_signature_for_another_namespace_does_not_pass() {
    let ours = key();
    let bench = Bench::new(&[&ours], 1, signed(1, 1, &[&ours]));
    let namespace = bench.open().unwrap();
    let tree = files(2);
    let mut signature = Signature::new("billing", &Fingerprint::of(&tree), 2);
    signature.sign(&ours);

    bench.refuses(&namespace, with(tree, &signature), "billing");
}

#[test]
fn an_archive_carries_its_signature_inside_or_beside() {
    let ours = key();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.tar.gz");
    let uri = format!("file://{}", path.display());
    let options = LoadOptions::new().with_trust(Trust::new([ours.public()], 1).unwrap());

    fs::write(&path, archive::pack(&signed(1, 1, &[&ours])).unwrap()).unwrap();
    let namespace = Namespace::from_uri_with_options(&uri, &options).unwrap();
    assert_eq!(served(&namespace), 1);

    fs::write(&path, shop::packed(2)).unwrap();
    assert!(namespace.refresh().is_err());
    let mut beside = Signature::new("shop", &Fingerprint::of(&files(2)), 2);
    beside.sign(&ours);
    fs::write(dir.path().join("shop.tar.gz.sig"), beside.to_string()).unwrap();
    namespace.refresh().unwrap();
    assert_eq!(served(&namespace), 2);
}

#[test]
fn a_kept_archive_keeps_its_detached_signature() {
    let ours = key();
    let dir = tempfile::tempdir().unwrap();
    let (place, kept) = (dir.path().join("shop.tar.gz"), dir.path().join("cache/shop.tar.gz"));
    fs::write(&place, shop::packed(1)).unwrap();
    let mut beside = Signature::new("shop", &Fingerprint::of(&files(1)), 1);
    beside.sign(&ours);
    fs::write(dir.path().join("shop.tar.gz.sig"), beside.to_string()).unwrap();
    let options = LoadOptions::new()
        .with_trust(Trust::new([ours.public()], 1).unwrap())
        .with_keep(Keep::in_file(&kept).fresh_for(Duration::ZERO));
    let uri = format!("file://{}", place.display());
    Namespace::from_uri_with_options(&uri, &options).unwrap();

    fs::remove_file(&place).unwrap();
    assert_eq!(served(&Namespace::from_uri_with_options(&uri, &options).unwrap()), 1);
    fs::write(dir.path().join("cache/shop.tar.gz.sig"), "").unwrap();
    assert!(Namespace::from_uri_with_options(&uri, &options).is_err());
}

#[test]
fn keys_are_told_apart_and_secret_ones_are_not_shown() {
    let secret = key();
    let text = secret.to_text().unwrap();

    assert!(!format!("{secret:?}").contains(text.expose()));
    let error = text.expose().parse::<PublicKey>().unwrap_err();
    assert!(!format!("{error:?}").contains(&text.expose()[8..]));
    assert!(error.hint_text().unwrap().contains("secret"));
    for bad in ["", "lvf-pub-", "lvf-pub-AAAA", "lvf-pub-!!!!"] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        assert!(SigningKey::from_text(bad).is_err(), "{bad}");
    }
    assert!(Trust::new([], 1).is_err());
    assert!(Trust::new([secret.public(), secret.public()], 2).is_err(), "one key is one key");
}

proptest! {
    #[test]
    fn a_signature_changed_at_any_byte_is_refused_or_says_the_same(place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let ours = key();
        let tree = files(1);
        let digest = Fingerprint::of(&tree);
        let mut signature = Signature::new("shop", &digest, 7)
            .expiring(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000))
            .unwrap();
        signature.sign(&ours);
        let trust = Trust::new([ours.public()], 1).unwrap();
        let mut bytes = signature.to_string().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;

        // White space may turn into other white space; nothing that is said may change.
        if let Ok(verified) = trust.verify(&bytes, &digest, SystemTime::UNIX_EPOCH, 0) {
            prop_assert_eq!((verified.namespace.as_str(), verified.counter), ("shop", 7));
            prop_assert_eq!(verified.expires, signature.expires());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signature::parse(&bytes);
    }

    #[test]
    fn a_signature_comes_back_from_its_text(counter in any::<u32>(), seconds in 0_u64..200_000_000_000, keys in 0_usize..3) {
        let mut signature = Signature::new("shop", &Fingerprint::of(&files(1)), u64::from(counter))
            .expiring(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
        for _ in 0..keys {
            signature.sign(&key());
        }
        prop_assert_eq!(Signature::parse(signature.to_string().as_bytes()).unwrap(), signature);
    }
}
