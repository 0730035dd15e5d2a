//! What a source hands over: a tree of files or a blob of bytes, with the revision that names its state.
//!
//! Plain values, no I/O. Sources make them, `live::Feed` carries them, products (flags, settings, gate) decode them.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

/// What the detached signature of a document has behind the document's own name.
pub(crate) const SIGNATURE_EXTENSION: &str = ".sig";

/// The opaque name of one state of a source: an ETag, a commit, a digest.
///
/// Two loads that report equal revisions carried equal content.
///
/// # Examples
/// ```
/// use leverframe::document::Revision;
/// assert_eq!(Revision::new("v8").as_str(), "v8");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(String);

impl Revision {
    /// Wraps the source's own name for the state.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One whole state of a source.
///
/// # Examples
/// ```
/// use leverframe::document::{Content, Document, Revision};
/// let d = Document::new(Revision::new("1"), Content::Bytes("hello".into())).named("greeting");
/// assert_eq!(d.name(), Some("greeting"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    revision: Revision,
    name: Option<String>,
    signature: Option<Bytes>,
    content: Content,
}

impl Document {
    /// Makes a document without a name.
    #[must_use]
    pub fn new(revision: Revision, content: Content) -> Self {
        Self { revision, name: None, signature: None, content }
    }

    /// Sets the name that the location suggests: a directory's name, an archive's file name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the detached signature that came with the content.
    #[must_use]
    pub fn signed(mut self, signature: impl Into<Bytes>) -> Self {
        self.signature = Some(signature.into());
        self
    }

    /// Returns the detached signature that came with the content.
    #[must_use]
    pub fn signature(&self) -> Option<&Bytes> {
        self.signature.as_ref()
    }

    /// Returns the name of this state.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Returns the name that the location suggests.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns what was loaded.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Takes the content out.
    #[must_use]
    pub fn into_content(self) -> Content {
        self.content
    }
}

/// The content of a document.
///
/// Complete by definition: content comes as files or as one run of bytes.
///
/// # Examples
/// ```
/// use leverframe::document::Content;
/// assert!(matches!(Content::Bytes("x".into()), Content::Bytes(b) if b.len() == 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "complete by definition")]
pub enum Content {
    /// One file's bytes: an archive, a JSON document.
    Bytes(Bytes),
    /// A directory's entries.
    Tree(Tree),
}

/// A change from one state to the next, path by path.
///
/// A source has checked the content against what its place promised of each file; what the place promised of the
/// whole is checked by whoever applies the change, because only there the whole is.
///
/// # Examples
/// ```
/// use leverframe::document::{Delta, Revision};
/// let d = Delta::new(Revision::new("1"), Revision::new("2")).removing("flags/old.toml");
/// assert_eq!(d.base().as_str(), "1");
/// assert_eq!(d.removed().count(), 1);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    base: Revision,
    revision: Revision,
    changed: BTreeMap<String, Bytes>,
    removed: Vec<String>,
    digest: Option<String>,
}

impl Delta {
    /// Makes an empty change from `base` to `revision`.
    #[must_use]
    pub fn new(base: Revision, revision: Revision) -> Self {
        Self { base, revision, changed: BTreeMap::new(), removed: Vec::new(), digest: None }
    }

    /// Adds a file that is new or has new content.
    #[must_use]
    pub fn changing(mut self, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.changed.insert(path.into(), content.into());
        self
    }

    /// Adds a file that is gone.
    #[must_use]
    pub fn removing(mut self, path: impl Into<String>) -> Self {
        self.removed.push(path.into());
        self
    }

    /// Adds the change that follows, whose [`base`](Self::base) is this one's [`revision`](Self::revision).
    #[must_use]
    pub(crate) fn then(mut self, next: Self) -> Self {
        for path in next.removed {
            self.changed.remove(&path);
            self.removed.push(path);
        }
        // What was removed and is there again is changed: removals are applied first.
        self.changed.extend(next.changed);
        Self { revision: next.revision, digest: next.digest, ..self }
    }

    /// Sets the digest that the files have once the change is applied, as the product spells it: of flags, the
    /// fingerprint. A change whose outcome has another digest is refused.
    #[must_use]
    pub fn promising(mut self, digest: impl Into<String>) -> Self {
        self.digest = Some(digest.into());
        self
    }

    /// Returns the digest that the files are to have once the change is applied.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the state this change starts from.
    #[must_use]
    pub fn base(&self) -> &Revision {
        &self.base
    }

    /// Returns the state this change leads to.
    #[must_use]
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Returns the new content by path.
    #[must_use]
    pub fn changed(&self) -> &BTreeMap<String, Bytes> {
        &self.changed
    }

    /// Returns the paths that are gone.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.removed.iter().map(String::as_str)
    }

    /// Applies the change to a copy of `tree`.
    #[must_use]
    pub fn apply_to(&self, tree: &Tree) -> Tree {
        let mut next = tree.clone();
        for path in &self.removed {
            next.entries.remove(path);
        }
        for (path, content) in &self.changed {
            next.entries.insert(path.clone(), Entry::File(content.clone()));
        }
        next
    }
}

/// The entries of a directory, by path relative to its root, `/`-separated.
///
/// A tree records what was found, also what cannot be used (links, oversized or unreadable files), so that the
/// check that follows can name each of them.
///
/// # Examples
/// ```
/// use leverframe::document::{Entry, Tree};
/// let mut tree = Tree::new();
/// tree.insert("flags/a.toml", Entry::File("x = 1".into()));
/// assert_eq!(tree.iter().count(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
    overflow: Option<String>,
}

impl Tree {
    /// Makes an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        self.entries.insert(path.into(), entry);
    }

    /// Removes an entry.
    pub fn remove(&mut self, path: &str) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Returns the content of the regular file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&Bytes> {
        match self.entries.get(path) {
            Some(Entry::File(content)) => Some(content),
            _ => None,
        }
    }

    /// Returns the entries in byte order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Records that reading stopped at a limit; what is missing is not known. `reason` says which limit.
    pub fn set_overflow(&mut self, reason: impl Into<String>) {
        self.overflow = Some(reason.into());
    }

    /// Returns which limit stopped the reading, if one did.
    #[must_use]
    pub fn overflow(&self) -> Option<&str> {
        self.overflow.as_deref()
    }
}

impl<P: Into<String>, C: Into<Bytes>> FromIterator<(P, C)> for Tree {
    fn from_iter<I: IntoIterator<Item = (P, C)>>(files: I) -> Self {
        let entries = files.into_iter().map(|(path, content)| (path.into(), Entry::File(content.into())));
        Self { entries: entries.collect(), overflow: None }
    }
}

/// What stands at one path of a tree.
///
/// # Examples
/// ```
/// use leverframe::document::Entry;
/// let refused = Entry::TooLarge { bytes: 2_000_000 };
/// assert_ne!(refused, Entry::Directory);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// A directory; its entries stand under their own paths if they were read.
    Directory,
    /// A regular file with its content.
    File(Bytes),
    /// A regular file that nobody asked to read.
    Skipped,
    /// A device, socket or pipe.
    Special,
    /// A symbolic link.
    Symlink,
    /// A regular file over the limit for one file; it was not read. `bytes` is its size on disk.
    TooLarge {
        /// Size on disk.
        bytes: u64,
    },
    /// A file or directory that the operating system would not read; the text says why.
    Unreadable(String),
}
