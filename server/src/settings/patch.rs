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
#[derive(Debug, Default)]
pub(super) struct Patch {
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

impl Patch {
    /// Begins one of a service that has these parts now.
    pub(super) fn of(parts: &Parts) -> Self {
        // With what refers to something, one change is the change of others as well, and perhaps of a secret.
        let is_plain = !parts.configs.values().any(|config| config.refers);
        Self { is_plain, ..Self::default() }
    }

    /// Notes an entry that is new or different.
    pub(super) fn puts(&mut self, mark: &Mark, parts: &Parts) {
        let (entries, value) = match mark.kind {
            EntryKind::Config => {
                let Some(config) = parts.configs.get(&mark.key) else { return self.give_up() };
                (&mut self.configs, format!("\"value\":{}", config.json))
            }
            EntryKind::Flag => (&mut self.flags, format!("\"is_active\":{}", mark.is_on)),
            EntryKind::Secret => return self.give_up(),
        };
        let source = mark.source.as_str();
        let comma = if entries.put.is_empty() { "" } else { "," };
        // Writing to a string does not fail; keys need no escaping.
        let _ = write!(entries.put, "{comma}\"{}\":{{{value},\"source\":\"{source}\"}}", mark.key);
        self.bound();
    }

    /// Notes an entry that is gone.
    pub(super) fn removes(&mut self, mark: &Mark) {
        let entries = match mark.kind {
            EntryKind::Config => &mut self.configs,
            EntryKind::Flag => &mut self.flags,
            EntryKind::Secret => return self.give_up(),
        };
        let comma = if entries.gone.is_empty() { "" } else { "," };
        let _ = write!(entries.gone, "{comma}\"{}\"", mark.key);
        self.bound();
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
        if lengths.iter().sum::<usize>() > LARGEST {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        *self = Self::default();
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

    fn text(patch: Patch) -> String {
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
        patch.puts(&mark(EntryKind::Config, "port"), &parts);
        patch.puts(&mark(EntryKind::Flag, "on"), &parts);
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
    fn with_secrets_and_references_and_too_much_there_is_none() {
        let parts = parts();
        let mut of_secret = Patch::of(&parts);
        of_secret.puts(&mark(EntryKind::Secret, "PASSWORD"), &parts);
        let mut gone = Patch::of(&parts);
        gone.removes(&mark(EntryKind::Secret, "PASSWORD"));
        let mut referring = parts.clone();
        referring.put_config("url", 1, r#""{{secret:PASSWORD}}""#);
        let mut large = parts.clone();
        large.put_config("large", 1, &format!("\"{}\"", "x".repeat(LARGEST)));
        let mut of_large = Patch::of(&large);
        of_large.puts(&mark(EntryKind::Config, "large"), &large);
        // What comes after does not make it whole.
        of_large.puts(&mark(EntryKind::Config, "port"), &large);

        for none in [of_secret, gone, Patch::of(&referring), of_large] {
            assert_eq!(text(none), "");
        }
    }
}
