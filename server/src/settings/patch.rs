//! What changed, with its values: so that a client which knows the state before needs not ask for the one after.
//!
//! Told before the events of the same change, which clients that do not know it go by. Values of secrets, and of what may
//! hold one, are not told: then there is no patch, and everybody asks.

use std::fmt::Write as _;

use http::HeaderValue;

use super::{model::EntryKind, parts::Parts, view::Mark};

/// Bytes of what a patch may tell: clients refuse lines of 64 KiB.
const LARGEST: usize = 16 * 1024;

/// A change under way.
pub(super) struct Patch<'p> {
    parts: &'p Parts,
    /// Whether it can be told with its values.
    is_plain: bool,
    configs: Entries,
    flags: Entries,
}

/// Entries of one kind.
#[derive(Debug, Default)]
struct Entries {
    /// Members of an object.
    put: String,
    /// Elements of a list.
    gone: String,
}

impl<'p> Patch<'p> {
    /// Begins one of a service that has these parts now.
    pub(super) fn of(parts: &'p Parts) -> Self {
        Self { parts, is_plain: true, configs: Entries::default(), flags: Entries::default() }
    }

    /// Notes an entry that is new or different.
    pub(super) fn puts(&mut self, mark: &Mark) {
        if self.means_more(mark) {
            return;
        }
        let (entries, value) = match mark.kind {
            EntryKind::Flag => (&mut self.flags, format!("\"is_active\":{}", mark.is_on)),
            _ => match self.parts.configs.get(&mark.key) {
                Some(config) if !config.refers => (&mut self.configs, format!("\"value\":{}", config.json)),
                _ => return self.is_plain = false,
            },
        };
        let comma = if entries.put.is_empty() { "" } else { "," };
        let source = mark.source.as_str();
        // Writing to a string does not fail; keys need no escaping.
        let _ = write!(entries.put, "{comma}\"{}\":{{{value},\"source\":\"{source}\"}}", mark.key);
        self.bound();
    }

    /// Notes an entry that is gone.
    pub(super) fn removes(&mut self, mark: &Mark) {
        if self.means_more(mark) {
            return;
        }
        let entries = if mark.kind == EntryKind::Flag { &mut self.flags } else { &mut self.configs };
        let comma = if entries.gone.is_empty() { "" } else { "," };
        let _ = write!(entries.gone, "{comma}\"{}\"", mark.key);
        self.bound();
    }

    /// Returns true, and gives up, for a secret and for what a config refers to, which changes with it.
    fn means_more(&mut self, mark: &Mark) -> bool {
        let end = format!(":{}}}}}", mark.key);
        let mut referring = self.parts.configs.values().filter(|config| config.refers);
        self.is_plain &=
            mark.kind != EntryKind::Secret && !referring.any(|config| config.json.contains(&end));
        !self.is_plain
    }

    /// Writes the event: from which state to which, and for how many of the events that follow it stands. Nothing if it
    /// cannot be told.
    pub(super) fn text(self, base: &HeaderValue, etag: &HeaderValue, events: usize) -> String {
        let (Ok(base), Ok(etag), true) = (base.to_str(), etag.to_str(), self.is_plain) else {
            return String::new();
        };
        let (base, etag) = (serde_json::Value::from(base), serde_json::Value::from(etag));
        let Self { configs, flags, .. } = self;
        format!(
            "event: settings.patch\ndata: {{\"base\":{base},\"etag\":{etag},\"events\":{events},\
             \"configs\":{{{}}},\"flags\":{{{}}},\"gone\":{{\"configs\":[{}],\"flags\":[{}]}}}}\n\n",
            configs.put, flags.put, configs.gone, flags.gone
        )
    }

    fn bound(&mut self) {
        let lengths = [&self.configs, &self.flags].map(|entries| entries.put.len() + entries.gone.len());
        self.is_plain &= lengths.iter().sum::<usize>() <= LARGEST;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leverframe::Secret;
    use serde_json::{Value, json};

    use super::{super::parts::Source, *};

    fn mark(kind: EntryKind, key: &str) -> Mark {
        Mark { kind, key: Arc::from(key), version: 1, source: Source::Service, is_on: true, digest: 0 }
    }

    fn text(patch: Patch<'_>) -> String {
        patch.text(&HeaderValue::from_static("\"a\""), &HeaderValue::from_static("\"b\""), 3)
    }

    fn parts() -> Parts {
        let mut parts = Parts::for_tests();
        parts.put_config("port", 1, r#"{"at":[1,"x\ny"]}"#);
        parts.put_secret("PASSWORD", 1, Secret::new("hidden"));
        parts
    }

    #[test]
    fn a_patch_tells_both_states_and_what_lies_between() {
        let parts = parts();
        let mut patch = Patch::of(&parts);
        patch.puts(&mark(EntryKind::Config, "port"));
        patch.puts(&mark(EntryKind::Flag, "on"));
        patch.removes(&mark(EntryKind::Config, "old"));
        patch.removes(&mark(EntryKind::Flag, "older"));
        patch.removes(&mark(EntryKind::Flag, "oldest"));

        let text = text(patch);

        let data = text.strip_prefix("event: settings.patch\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains('\n'));
        assert_eq!(
            serde_json::from_str::<Value>(data).unwrap(),
            json!({
                "base": "\"a\"", "etag": "\"b\"", "events": 3,
                "configs": {"port": {"value": {"at": [1, "x\ny"]}, "source": "service"}},
                "flags": {"on": {"is_active": true, "source": "service"}},
                "gone": {"configs": ["old"], "flags": ["older", "oldest"]},
            })
        );
    }

    #[test]
    fn what_is_beside_references_is_told_all_the_same() {
        let mut parts = parts();
        parts.put_config("url", 1, r#""{{secret:PASSWORD}}""#);
        let mut patch = Patch::of(&parts);
        patch.puts(&mark(EntryKind::Config, "port"));

        let text = text(patch);

        assert!(text.contains("\"port\"") && !text.contains("hidden"), "{text}");
    }

    #[test]
    fn with_secrets_and_references_and_too_much_there_is_none() {
        let parts = parts();
        let mut of_secret = Patch::of(&parts);
        of_secret.puts(&mark(EntryKind::Secret, "PASSWORD"));
        let mut gone = Patch::of(&parts);
        gone.removes(&mark(EntryKind::Secret, "PASSWORD"));
        let mut referring = parts.clone();
        referring.put_config("url", 1, r#""{{secret:PASSWORD}}:{{config:port}}""#);
        let mut refers = Patch::of(&referring);
        refers.puts(&mark(EntryKind::Config, "url"));
        let (mut target, mut lost) = (Patch::of(&referring), Patch::of(&referring));
        target.puts(&mark(EntryKind::Config, "port"));
        lost.removes(&mark(EntryKind::Config, "port"));
        let mut large = parts.clone();
        large.put_config("large", 1, &format!("\"{}\"", "x".repeat(LARGEST)));
        let mut of_large = Patch::of(&large);
        of_large.puts(&mark(EntryKind::Config, "large"));
        // What comes after does not make it whole.
        of_large.puts(&mark(EntryKind::Config, "port"));

        for none in [of_secret, gone, refers, target, lost, of_large] {
            assert_eq!(text(none), "");
        }
    }
}
