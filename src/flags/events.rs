//! What the server's event stream says: the `data` of its events, version 2 of the protocol.
//!
//! The same types write the events on the server and read them in the client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    document::Tree,
    manifest::{Fingerprint, GATE_FILE, Layout, Manifest, NAMESPACE_FILE, closure},
};

/// An inline delivery is at most this many bytes of JSON; what is larger is delivered as a snapshot.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// The name of the event that tells of a version.
pub const VERSION: &str = "version";

/// The name of the event that tells a reader to fetch everything.
pub const RESYNC: &str = "resync";

/// The `data` of a `version` event.
///
/// # Examples
/// ```
/// use leverframe::flags::events::{Delivery, VersionEvent};
/// let event: VersionEvent = serde_json::from_str(
///     r#"{"namespace":"billing","version":4,"delivery":"snapshot","closure_hash":"sha256:00","snapshot_url":"/s"}"#,
/// )?;
/// assert_eq!(event.delivery, Delivery::Snapshot);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VersionEvent {
    /// The namespace's slug.
    pub namespace: String,
    /// The version of its manifest.
    pub version: u64,
    /// Whether the change is in the event.
    pub delivery: Delivery,
    /// The digest of the closure before the change; in inline deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_closure_hash: Option<String>,
    /// The digest of the closure after the change (M11 over its paths).
    pub closure_hash: String,
    /// Where the closure can be fetched; in snapshot deliveries. May be relative to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_url: Option<String>,
    /// The files that are new or changed, by path; in inline deliveries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, EventFile>,
    /// The paths that are gone; in inline deliveries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// How a change is delivered.
///
/// # Examples
/// ```
/// use leverframe::flags::events::Delivery;
/// assert_eq!(serde_json::to_string(&Delivery::Inline)?, r#""inline""#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Delivery {
    /// The event names where the closure can be fetched.
    Snapshot,
    /// The event carries the changed files.
    Inline,
}

/// A file in an inline delivery.
///
/// # Examples
/// ```
/// use leverframe::flags::events::EventFile;
/// let mut file = EventFile::new("[flag]");
/// assert!(file.is_intact());
/// file.content.push('x');
/// assert!(!file.is_intact());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventFile {
    /// Lower-case hex SHA-256 of the content.
    pub sha256: String,
    /// The text of the file.
    pub content: String,
}

impl EventFile {
    /// Makes the entry of a file, with its digest.
    #[must_use]
    pub fn new(content: impl Into<String>) -> Self {
        let content = content.into();
        Self { sha256: digest(content.as_bytes()), content }
    }

    /// Returns true if the content is what the digest says.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        digest(self.content.as_bytes()) == self.sha256
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    crate::encoding::hex(&Sha256::digest(bytes))
}

/// The `data` of a `resync` event.
///
/// # Examples
/// ```
/// use leverframe::flags::events::ResyncEvent;
/// let event = ResyncEvent::new("billing", 75, "sha256:9e", "/s", "slow_reader");
/// let json = serde_json::to_value(&event)?;
/// assert_eq!(json["reason"], "slow_reader");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResyncEvent {
    /// The namespace's slug.
    pub namespace: String,
    /// The version of its manifest.
    pub version: u64,
    /// The digest of the closure of that version.
    pub closure_hash: String,
    /// Where the closure can be fetched. May be relative to the server.
    pub snapshot_url: String,
    /// Why the reader has to fetch everything.
    pub reason: String,
}

impl ResyncEvent {
    /// Makes the event.
    #[must_use]
    pub fn new(
        namespace: impl Into<String>,
        version: u64,
        closure_hash: impl Into<String>,
        snapshot_url: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            version,
            closure_hash: closure_hash.into(),
            snapshot_url: snapshot_url.into(),
            reason: reason.into(),
        }
    }
}

impl VersionEvent {
    /// Makes an event that names where the closure can be fetched.
    #[must_use]
    pub fn snapshot(
        namespace: impl Into<String>,
        version: u64,
        closure_hash: impl Into<String>,
        snapshot_url: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            version,
            delivery: Delivery::Snapshot,
            prev_closure_hash: None,
            closure_hash: closure_hash.into(),
            snapshot_url: Some(snapshot_url.into()),
            files: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    /// Makes an event that carries the change.
    #[must_use]
    pub fn inline(
        namespace: impl Into<String>,
        version: u64,
        prev_closure_hash: impl Into<String>,
        closure_hash: impl Into<String>,
        files: BTreeMap<String, EventFile>,
        removed: Vec<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            version,
            delivery: Delivery::Inline,
            prev_closure_hash: Some(prev_closure_hash.into()),
            closure_hash: closure_hash.into(),
            snapshot_url: None,
            files,
            removed,
        }
    }
}

/// Which flags of a namespace a reader wants.
///
/// # Examples
/// ```
/// use leverframe::{document::Tree, flags::events::FlagFilter, manifest::Manifest};
/// assert_eq!(FlagFilter::only(["b", "a", "b"]), FlagFilter::only(["a", "b"]));
/// assert_eq!(FlagFilter::only(["a", "*"]), FlagFilter::All);
///
/// let tree: Tree = [("namespace.toml", ""), ("README.md", "")].into_iter().collect();
/// let (files, hash) = FlagFilter::only(["a"]).closure(&tree, &Manifest::new("shop"));
/// assert_eq!(files.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["namespace.toml"]);
/// assert!(hash.as_str().starts_with("sha256:"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FlagFilter {
    /// All flags, also those that will be added.
    All,
    /// These flags and what their rules reach. Sorted and without duplicates; a flag that does not exist is waited for.
    Only(Vec<String>),
}

impl FlagFilter {
    /// Makes the filter of these flags; `*` among them means all.
    #[must_use]
    pub fn only(flags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut flags: Vec<String> = flags.into_iter().map(Into::into).collect();
        if flags.iter().any(|flag| flag == "*") {
            return Self::All;
        }
        flags.sort_unstable();
        flags.dedup();
        Self::Only(flags)
    }

    /// Returns the files of `tree`, a tree that was linted into `manifest`, that evaluate these flags, with the
    /// digest over them. Reflex rules evaluate no flag and are in none. Both sides of the event stream reckon by this one function.
    #[must_use]
    pub fn closure(&self, tree: &Tree, manifest: &Manifest) -> (Tree, Fingerprint) {
        let files = match self {
            Self::All => {
                let mut files = Layout::of(tree).packaged();
                files.remove(GATE_FILE);
                files
            }
            Self::Only(flags) => {
                let has_namespace_file = tree.file(NAMESPACE_FILE).is_some();
                let paths = closure(manifest, flags.iter().map(String::as_str), has_namespace_file);
                paths
                    .into_iter()
                    .filter_map(|path| tree.file(&path).cloned().map(|text| (path, text)))
                    .collect()
            }
        };
        let fingerprint = Fingerprint::of(&files);
        (files, fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{LintOptions, lint_tree};

    #[test]
    fn events_have_the_fields_of_their_delivery_and_no_others() {
        let snapshot = VersionEvent::snapshot("billing", 4, "sha256:1", "/s");
        let files = BTreeMap::from([("flags/a.toml".to_owned(), EventFile::new("x"))]);
        let inline =
            VersionEvent::inline("billing", 5, "sha256:1", "sha256:2", files, vec!["flags/b.toml".into()]);

        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            r#"{"namespace":"billing","version":4,"delivery":"snapshot","closure_hash":"sha256:1","snapshot_url":"/s"}"#
        );
        assert_eq!(
            serde_json::to_string(&inline).unwrap(),
            concat!(
                r#"{"namespace":"billing","version":5,"delivery":"inline","prev_closure_hash":"sha256:1","#,
                r#""closure_hash":"sha256:2","files":{"flags/a.toml":{"sha256":"#,
                r#""2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","content":"x"}},"#,
                r#""removed":["flags/b.toml"]}"#
            )
        );
        for event in [snapshot, inline] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<VersionEvent>(&text).unwrap(), event);
        }
    }

    #[test]
    fn fields_that_a_later_server_adds_are_passed_over() {
        let text =
            r#"{"namespace":"b","version":1,"closure_hash":"h","snapshot_url":"/s","reason":"r","more":1}"#;

        assert_eq!(
            serde_json::from_str::<ResyncEvent>(text).unwrap(),
            ResyncEvent::new("b", 1, "h", "/s", "r")
        );
    }

    #[test]
    fn a_closure_of_all_flags_leaves_out_what_an_archive_leaves_out() {
        let flag = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\n\
                    [flag.environments._]\nvariant = \"on\"\n";
        let namespace = "schema_version = \"0.1\"\n[namespace]\nslug = \"shop\"\n";
        let tree: Tree = [
            ("namespace.toml", namespace),
            ("gate.toml", ""),
            ("flags/a.toml", flag),
            ("flags/b.toml", flag),
            (".exdignore", "flags/b.toml\n"),
            ("README.md", "read"),
        ]
        .into_iter()
        .collect();
        let manifest = lint_tree(&tree, &LintOptions::new()).manifest.unwrap();

        let (all, hash) = FlagFilter::All.closure(&tree, &manifest);
        let (some, same) = FlagFilter::only(["a", "b", "none"]).closure(&tree, &manifest);

        assert_eq!(all.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["flags/a.toml", "namespace.toml"]);
        assert_eq!((some, same), (all.clone(), hash.clone()));
        assert_eq!(Fingerprint::of(&all), hash);
    }
}
