//! Master keys, which seal the services' data keys.
//!
//! A key is 32 bytes, in a file or a variable as base64 or in hexadecimal. Several may stand there, one a line: the first
//! one seals, every one of them opens, so that a key can be replaced while servers run.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use leverframe::{
    Error, ErrorKind, Result, Secret,
    backends::clock_system::SystemClock,
    traits::{Clock, Tick},
};
use zeroize::Zeroizing;

use super::{
    data_key::DataKey,
    envelope::{Context, KEY_LEN, KeyId, SealingKey},
    model::ServiceId,
};
use crate::private_file::{self, Others};

/// The name of the file in the data directory.
pub const FILE: &str = "settings.key";
/// How often a file is read again because an envelope, or a session, is of none of its keys.
const LOOK: Duration = Duration::from_secs(1);
/// More keys than a replacement that was broken off several times leaves.
const MOST_KEYS: usize = 8;
const WHAT: &str = "the master key";
/// Places in [`Inner::look_at`].
const FOR_ENVELOPES: usize = 0;
const FOR_SESSIONS: usize = 1;

/// The master keys of an installation; clones share them.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    clock: Arc<dyn Clock>,
    /// At least one; the first one seals.
    keys: ArcSwap<Vec<MasterKey>>,
    /// Not read again before this: for an envelope, and for a session, which strangers may make up and must not keep
    /// the other from being looked for by.
    look_at: [Mutex<Tick>; 2],
}

/// The master keys of one moment.
#[derive(Clone)]
pub(super) struct MasterKeys(Arc<Vec<MasterKey>>);

/// Where keys come from.
enum Place {
    /// The data directory: the file is ours, and rewritten.
    Own(PathBuf),
    /// A file that somebody else cares for.
    Theirs(PathBuf),
    /// A variable.
    Given,
}

#[derive(Clone)]
struct MasterKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    key: Arc<SealingKey>,
}

impl Keyring {
    /// Takes the key of a data directory, made now if it has none.
    ///
    /// # Errors
    /// `PermissionDenied` for a file that others can read, `Corrupt` for one that holds no key; what reading or writing
    /// fails with.
    pub fn in_directory(dir: &Path) -> Result<Self> {
        Self::at(Place::Own(dir.join(FILE)), Arc::new(SystemClock::new()))
    }

    /// Takes the keys that a file holds.
    ///
    /// # Errors
    /// `NotFound` without the file, `PermissionDenied` for one that others can read, `Corrupt` for one that holds no
    /// key; what reading fails with.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::at(Place::Theirs(path.to_owned()), Arc::new(SystemClock::new()))
    }

    /// Takes the keys that a text holds.
    ///
    /// # Errors
    /// `Invalid` for a text that holds no key.
    pub fn from_secret(text: &Secret) -> Result<Self> {
        let keys = parsed(text.expose()).ok_or_else(|| refused(ErrorKind::Invalid))?;
        Ok(Self::with(Place::Given, keys, Arc::new(SystemClock::new())))
    }

    fn at(place: Place, clock: Arc<dyn Clock>) -> Result<Self> {
        let keys = place.read_or_make()?.unwrap_or_default();
        Ok(Self::with(place, keys, clock))
    }

    fn with(place: Place, keys: Vec<MasterKey>, clock: Arc<dyn Clock>) -> Self {
        let (keys, look_at) = (ArcSwap::from_pointee(keys), [const { Mutex::new(Tick::ORIGIN) }; 2]);
        Self { inner: Arc::new(Inner { place, clock, keys, look_at }) }
    }

    /// Makes a data key for a service, and seals it.
    ///
    /// # Errors
    /// `Unavailable` if the operating system has no randomness; what reading the key's file fails with, because a data
    /// key that is sealed by a key that was replaced is lost.
    pub fn new_data_key(&self, service: &ServiceId) -> Result<Bytes> {
        if let Some(keys) = self.inner.place.read()? {
            self.hold(keys);
        }
        self.seal(service, &*random()?)
    }

    /// Opens a service's data key. The key's file is read again if it was sealed by none of the keys at hand, at most
    /// once a second.
    ///
    /// # Errors
    /// `Config` for one that was sealed by another master key, `Corrupt` for one that was changed or is another
    /// service's.
    pub fn open_data_key(&self, service: &ServiceId, sealed: &[u8]) -> Result<DataKey> {
        self.opened(service, sealed).map(|bytes| DataKey::new(&bytes))
    }

    /// Seals a data key of these master keys by the first one of another keyring.
    ///
    /// # Errors
    /// As of [`open_data_key`](Self::open_data_key).
    pub fn reseal(&self, service: &ServiceId, sealed: &[u8], to: &Self) -> Result<Bytes> {
        to.seal(service, &*self.opened(service, sealed)?)
    }

    /// Returns what tells the first key from others, and nothing of it.
    #[must_use]
    pub fn id(&self) -> String {
        self.inner.keys.load().first().map(|key| key.key.id.to_string()).unwrap_or_default()
    }

    /// Returns true if the first of these keys sealed a data key.
    pub(super) fn has_sealed(&self, sealed: &[u8]) -> bool {
        KeyId::of(sealed).is_some_and(|id| self.inner.keys.load().first().is_some_and(|key| key.key.id == id))
    }

    /// Puts the first key of another keyring before those of the data directory, durably: from now on it seals, and
    /// what the others have sealed still opens. Does nothing where the file is not ours.
    pub(super) fn put_first(&self, new: &Self) -> Result<()> {
        let Place::Own(path) = &self.inner.place else { return Ok(()) };
        let mut keys: Vec<MasterKey> = new.inner.keys.load().first().cloned().into_iter().collect();
        keys.extend(self.inner.place.read()?.unwrap_or_default());
        self.keep(path, without_repeats(keys))
    }

    /// Forgets every key but the first, durably. Does nothing where the file is not ours.
    pub(super) fn keep_first(&self) -> Result<()> {
        let Place::Own(path) = &self.inner.place else { return Ok(()) };
        self.keep(path, self.inner.keys.load().first().cloned().into_iter().collect())
    }

    fn keep(&self, path: &Path, keys: Vec<MasterKey>) -> Result<()> {
        if keys.len() > MOST_KEYS {
            return Err(Error::new(ErrorKind::LimitExceeded, "write the master key")
                .with("file", path.display())
                .with("keys", keys.len())
                .hint(
                    "finish the replacement that was broken off: give the key of the file's first line again",
                ));
        }
        let mut text = Zeroizing::new(String::with_capacity(64 * keys.len()));
        for key in &keys {
            text.push_str(&line(&key.bytes));
        }
        leverframe::durable::replace(path, text.as_bytes())
            .map_err(|error| Error::from_io("write the master key", error).with("file", path.display()))?;
        self.inner.keys.store(Arc::new(keys));
        Ok(())
    }

    fn seal(&self, service: &ServiceId, data_key: &[u8; KEY_LEN]) -> Result<Bytes> {
        let keys = self.inner.keys.load();
        let first = keys.first().ok_or_else(|| refused(ErrorKind::Corrupt))?;
        first.key.seal(&context(service), data_key)
    }

    fn opened(&self, service: &ServiceId, sealed: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>> {
        let refused = |kind| Error::new(kind, "open the service's data key").with("service", service);
        let Some(id) = KeyId::of(sealed) else {
            let hint = "restore a backup of the database: this is no data key that this program makes";
            return Err(refused(ErrorKind::Corrupt).hint(hint));
        };
        let Some(key) = self.key(id) else {
            let keys = self.inner.keys.load();
            let at_hand = keys.iter().map(|key| key.key.id.to_string()).collect::<Vec<_>>().join(", ");
            return Err(refused(ErrorKind::Config)
                .with("sealed by", id)
                .with("at hand", at_hand)
                .hint(
                    "another master key has sealed it: start the server with that one, or add it to the key's file \
                     on a line of its own",
                ));
        };
        let opened = key.open(&context(service), sealed);
        let bytes = opened.and_then(|bytes| <[u8; KEY_LEN]>::try_from(&bytes[..]).ok().map(Zeroizing::new));
        bytes.ok_or_else(|| {
            refused(ErrorKind::Corrupt)
                .with("reason", "it was changed, or is another service's")
                .hint("restore a backup of the database")
        })
    }

    /// Returns the key with this id.
    fn key(&self, id: KeyId) -> Option<Arc<SealingKey>> {
        let find =
            || self.inner.keys.load().iter().find(|key| key.key.id == id).map(|key| Arc::clone(&key.key));
        if let Some(key) = find() {
            return Some(key);
        }
        self.look(FOR_ENVELOPES);
        find()
    }

    /// Returns the keys at hand.
    pub(super) fn keys(&self) -> MasterKeys {
        MasterKeys(self.inner.keys.load_full())
    }

    /// Returns true if there are other keys by now than these, which a session is of none of. The key's file is read
    /// again for it, at most once a second.
    pub(super) fn has_others(&self, tried: &MasterKeys) -> bool {
        self.look(FOR_SESSIONS);
        !self.keys().is(tried)
    }

    fn look(&self, what_for: usize) {
        let now = self.inner.clock.now();
        // Read under the lock: whoever comes meanwhile finds what it brought.
        let mut look_at = self.inner.look_at[what_for].lock().unwrap_or_else(PoisonError::into_inner);
        if now < *look_at {
            return;
        }
        *look_at = now + LOOK;
        match self.inner.place.read() {
            Ok(Some(keys)) => self.hold(keys),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %error.chain(), "the master key that is at hand stays in use");
            }
        }
    }

    /// Takes keys that were read, if they are others than those at hand.
    fn hold(&self, keys: Vec<MasterKey>) {
        let ids = |keys: &[MasterKey]| keys.iter().map(|key| key.key.id).collect::<Vec<_>>();
        if ids(&self.inner.keys.load()) != ids(&keys) {
            self.inner.keys.store(Arc::new(keys));
        }
    }
}

impl MasterKeys {
    /// Returns true if these are the same as others, taken from one keyring and not replaced between.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Makes something of each key, of the one that seals first.
    pub(super) fn each<T>(&self, make: impl Fn(&[u8; KEY_LEN]) -> T) -> Vec<T> {
        self.0.iter().map(|key| make(&key.bytes)).collect()
    }
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| key.key.id)).finish()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys().fmt(f)
    }
}

impl Place {
    /// Returns the keys that are there now; `None` where nothing is to be read.
    fn read(&self) -> Result<Option<Vec<MasterKey>>> {
        let (Self::Own(path) | Self::Theirs(path)) = self else { return Ok(None) };
        let bytes = private_file::read(path, WHAT, Others::Refused)?.ok_or_else(|| {
            refused(ErrorKind::NotFound)
                .with("file", path.display())
                .hint("make one: `(umask 077; openssl rand -base64 32 > FILE)`")
        })?;
        keys_in(path, &bytes).map(Some)
    }

    /// As [`read`](Self::read), once a file of ours is there.
    fn read_or_make(&self) -> Result<Option<Vec<MasterKey>>> {
        let Self::Own(path) = self else { return self.read() };
        let make = || Ok(Zeroizing::new(line(&*random()?).as_bytes().to_vec()));
        keys_in(path, &private_file::read_or_make(path, WHAT, Others::Refused, make)?).map(Some)
    }
}

impl MasterKey {
    fn new(bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        Self { key: Arc::new(SealingKey::new("leverframe master key", &bytes)), bytes }
    }
}

fn context(service: &ServiceId) -> Context {
    Context::new("leverframe settings data key 1", service)
}

fn refused(kind: ErrorKind) -> Error {
    Error::new(kind, "read the master key").hint(
        "a key is 32 bytes in base64 or hexadecimal, as `openssl rand -base64 32` prints it; one a line",
    )
}

fn random() -> Result<Zeroizing<[u8; KEY_LEN]>> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    let filled = rand::fill(&mut *bytes);
    filled.map_err(|_| Error::new(ErrorKind::Unavailable, "read the operating system's randomness"))?;
    Ok(bytes)
}

fn line(bytes: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(64));
    STANDARD.encode_string(bytes, &mut line);
    line.push('\n');
    line
}

fn keys_in(path: &Path, bytes: &[u8]) -> Result<Vec<MasterKey>> {
    let keys = std::str::from_utf8(bytes).ok().and_then(parsed);
    keys.ok_or_else(|| refused(ErrorKind::Corrupt).with("file", path.display()))
}

/// Reads keys, one a line; `None` unless there is one, and each is one.
fn parsed(text: &str) -> Option<Vec<MasterKey>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Option<Vec<MasterKey>> =
        lines.take(MOST_KEYS + 1).map(|line| key_of(line).map(MasterKey::new)).collect();
    keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len())).map(without_repeats)
}

fn without_repeats(keys: Vec<MasterKey>) -> Vec<MasterKey> {
    let mut kept: Vec<MasterKey> = Vec::new();
    for key in keys {
        if kept.iter().all(|held| held.key.id != key.key.id) {
            kept.push(key);
        }
    }
    kept
}

fn key_of(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if text.len() == 2 * KEY_LEN {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
        }
        return Some(key);
    }
    let bytes = Zeroizing::new(STANDARD_NO_PAD.decode(text.strip_suffix('=').unwrap_or(text)).ok()?);
    key.copy_from_slice(bytes.get(..KEY_LEN).filter(|_| bytes.len() == KEY_LEN)?);
    Some(key)
}

#[cfg(test)]
mod tests;
