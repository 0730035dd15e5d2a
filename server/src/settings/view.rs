//! What a service is handed out at one moment, ready to be sent.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock, OnceLock},
    time::SystemTime,
};

use bytes::Bytes;
use http::HeaderValue;
use leverframe::rfc3339;

use super::{
    ab::Evaluator,
    model::{EntryKind, SecretForm, Service},
    parts::{Parts, Revisions, Source},
    references::{Resolver, Unresolved},
    signers::Tagger,
    wiped::Wiped,
};
use crate::events::{Purpose, Signer};

/// An answer to one kind of caller.
pub(crate) struct Face {
    /// Over all of the body but the time it was made at.
    pub(crate) etag: HeaderValue,
    /// Wiped when the last answer that has it is gone.
    pub(crate) body: Bytes,
    /// How many secrets are in it.
    pub(crate) secrets: usize,
    /// What is in it, by kind and key.
    pub(super) marks: Arc<[Mark]>,
}

/// What can be seen of an entry without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) kind: EntryKind,
    pub(super) key: Arc<str>,
    pub(super) version: u64,
    pub(super) source: Source,
    /// Of a flag.
    pub(super) is_on: bool,
    /// Over the JSON of a config, in this process.
    pub(super) digest: u64,
}

/// Everything of a service, from one moment to the next turn of a flag.
pub(crate) struct View {
    pub(super) parts: Parts,
    /// When it is not what the service has any more, although nobody has changed anything.
    until: Option<SystemTime>,
    secret: Face,
    public: Face,
    evaluator: OnceLock<Evaluator>,
}

impl View {
    /// Makes what is handed out now.
    pub(super) fn of(parts: Parts, tagger: &Tagger, now: SystemTime) -> Self {
        let until = parts.flags.values().filter_map(|part| part.flag.turns_at(now)).min();
        let Tagger { secret, public } = tagger;
        let (secret, public) = (face(&parts, secret, now, false), face(&parts, public, now, true));
        Self { parts, until, secret, public, evaluator: OnceLock::new() }
    }

    /// Returns true until the next turn of a flag.
    pub(super) fn is_good_at(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Returns when [`is_good_at`](Self::is_good_at) ends.
    pub(super) fn until(&self) -> Option<SystemTime> {
        self.until
    }

    pub(crate) fn service(&self) -> &Service {
        &self.parts.service
    }

    /// Returns what a caller gets.
    pub(crate) fn face(&self, public: bool) -> &Face {
        if public { &self.public } else { &self.secret }
    }

    /// Returns the revisions of everything in it.
    pub(crate) fn revisions(&self) -> Revisions {
        self.parts.revisions
    }

    /// Bytes that it takes, by and large.
    pub(super) fn weight(&self) -> usize {
        2 * (self.secret.body.len() + self.public.body.len())
    }

    /// Evaluates flags for a user; those that there are not are off.
    pub(crate) fn evaluate<'k>(
        &self,
        keys: impl Iterator<Item = &'k str>,
        user_id: &str,
        attributes: &[(&str, &str)],
        now: SystemTime,
    ) -> Vec<(&'k str, bool)> {
        let flags = || self.parts.flags.iter().map(|(key, part)| (&**key, &*part.flag));
        let evaluator = self.evaluator.get_or_init(|| Evaluator::of(flags()));
        let context = super::ab::context(user_id, attributes.iter().copied());
        keys.map(|key| {
            let is_on = self.parts.flags.get(key).is_some_and(|part| part.flag.is_on(now));
            (key, is_on && evaluator.holds(key, &context))
        })
        .collect()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Resolves every config that refers to something; says which ones cannot be, and why.
pub(super) fn unresolved(parts: &Parts, now: SystemTime) -> Vec<(Arc<str>, Unresolved)> {
    let with_secrets = parts.service.kind.has_secrets();
    let is_on = |key: &str| parts.flags.get(key).map(|part| part.flag.is_on(now));
    let mut resolver = Resolver::new(parts, &is_on, with_secrets);
    let referring = parts.configs.iter().filter(|(_, config)| config.refers);
    let tried = referring.map(|(key, config)| (key, resolver.config(key, &config.json)));
    tried.filter_map(|(key, resolved)| Some((Arc::clone(key), resolved.err()?))).collect()
}

/// Resolves every config that refers to something; says of the first one that cannot be why.
pub(super) fn check(parts: &Parts, now: SystemTime) -> Result<(), (Arc<str>, Unresolved)> {
    unresolved(parts, now).into_iter().next().map_or(Ok(()), Err)
}

fn face(parts: &Parts, signer: &Signer, now: SystemTime, public: bool) -> Face {
    static DIGESTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let digests = &*DIGESTS;
    let with_secrets = !public && parts.service.kind.has_secrets();
    let is_on = |key: &str| parts.flags.get(key).map(|part| part.flag.is_on(now));
    let mut resolver = Resolver::new(parts, &is_on, with_secrets);
    let mut out = Wiped::with_capacity(guess(parts));
    let mut marks = Vec::with_capacity(parts.configs.len() + parts.flags.len() + parts.secrets.len());
    out.push(b"{\"key_type\":\"");
    out.push(if public { b"pk" } else { b"sk" });
    out.push(b"\",\"service_kind\":\"");
    out.push(parts.service.kind.as_str().as_bytes());
    out.push(b"\",\"configs\":{");
    let mut first = true;
    for (key, config) in &parts.configs {
        let resolved = match config.refers.then(|| resolver.config(key, &config.json)) {
            None => None,
            Some(Ok(resolved)) => Some(resolved),
            Some(Err(Unresolved::Withheld)) => continue,
            Some(Err(why)) => {
                // It was checked when it was written, but what is inherited changes without it.
                let why = why.refusal(key).0;
                tracing::warn!(service = %parts.service.id, why, "a config is left out");
                continue;
            }
        };
        entry(&mut out, &mut first, key);
        out.push(b"\"value\":");
        out.push(resolved.as_ref().map_or(&*config.json, |resolved| resolved.text()).as_bytes());
        end(&mut out, config.source);
        let mut mark = mark(EntryKind::Config, key, config.version, config.source, false);
        mark.digest = digests.hash_one(&config.json);
        marks.push(mark);
    }
    out.push(b"},\"flags\":{");
    first = true;
    for (key, part) in &parts.flags {
        let is_on = part.flag.is_on(now);
        entry(&mut out, &mut first, key);
        out.push(if is_on { b"\"is_active\":true" } else { b"\"is_active\":false" });
        end(&mut out, part.source);
        marks.push(mark(EntryKind::Flag, key, part.version, part.source, is_on));
    }
    out.push(b"}");
    if with_secrets {
        out.push(b",\"secrets\":{");
        first = true;
        for (key, part) in &parts.secrets {
            entry(&mut out, &mut first, key);
            out.push(b"\"value\":");
            out.string(part.text.expose());
            // Clients count in 32 bits.
            let version = u32::try_from(part.version).unwrap_or(u32::MAX);
            out.push(format!(",\"version\":{version},\"type\":").as_bytes());
            out.push(match part.form {
                SecretForm::Text => b"\"text\"",
                SecretForm::File => b"\"file\"",
                SecretForm::FileBase64 => b"\"file\",\"encoding\":\"base64\"",
            });
            end(&mut out, part.source);
            marks.push(mark(EntryKind::Secret, key, part.version, part.source, false));
        }
        out.push(b"}");
    }
    // Signed rather than hashed: a tag is written into logs, and must not help to guess what it stands for.
    let seal = signer.seal(Purpose::SettingsTag, out.text());
    out.push(format!(",\"synced_at\":\"{}\"}}", rfc3339(now)).as_bytes());
    Face {
        etag: HeaderValue::from_str(&format!("\"{seal}\"")).unwrap_or_else(|_| HeaderValue::from_static("")),
        secrets: if with_secrets { parts.secrets.len() } else { 0 },
        body: out.into_bytes(),
        marks: marks.into(),
    }
}

fn entry(out: &mut Wiped, first: &mut bool, key: &str) {
    if !std::mem::take(first) {
        out.push(b",");
    }
    out.string(key);
    out.push(b":{");
}

fn end(out: &mut Wiped, source: Source) {
    out.push(b",\"source\":\"");
    out.push(source.as_str().as_bytes());
    out.push(b"\"}");
}

fn mark(kind: EntryKind, key: &Arc<str>, version: u64, source: Source, is_on: bool) -> Mark {
    Mark { kind, key: Arc::clone(key), version, source, is_on, digest: 0 }
}

/// Bytes of an answer, so that it need not move house more than once or twice.
fn guess(parts: &Parts) -> usize {
    const EACH: usize = 64;
    let configs: usize = parts.configs.iter().map(|(key, config)| EACH + key.len() + config.json.len()).sum();
    let secrets = parts.secrets.iter().map(|(key, part)| EACH + key.len() + part.text.expose().len());
    let flags: usize = parts.flags.keys().map(|key| EACH + key.len()).sum();
    256 + configs + flags + secrets.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use leverframe::Secret;
    use serde_json::{Value, json};

    use super::{
        super::{
            flags::{Flag, FlagWrite},
            model::Kind,
        },
        *,
    };
    use crate::events::SigningKey;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_780_000_000 + seconds)
    }

    fn view(parts: &Parts, now: SystemTime) -> View {
        let [secret, public] = [7, 8].map(|byte| Arc::new(Signer::new(SigningKey::new([byte; 32]))));
        View::of(parts.clone(), &Tagger { secret, public }, now)
    }

    fn body(face: &Face) -> Value {
        serde_json::from_slice(&face.body).unwrap()
    }

    fn parts() -> Parts {
        let mut parts = Parts::for_tests();
        parts.put_config("port", 1, "18446744073709551615");
        parts.put_config("url", 2, r#""https://{{secret:PASSWORD}}/""#);
        parts.put_config("none", 1, "null");
        parts.put_secret("PASSWORD", 3, Secret::new("a\"b\n"));
        parts.put_flag("later", 1, Flag::parse(&write("2026-05-28T20:27:00Z")).unwrap());
        parts
    }

    fn write(starts_at: &str) -> String {
        let mut write = FlagWrite::new(true);
        write.starts_at = Some(starts_at.to_owned());
        serde_json::to_string(&write).unwrap()
    }

    #[test]
    fn a_secret_key_gets_everything_and_a_public_one_what_leads_to_no_secret() {
        let view = view(&parts(), at(0));

        assert_eq!(
            body(view.face(false)),
            json!({
                "synced_at": rfc3339(at(0)), "key_type": "sk", "service_kind": "backend",
                "configs": {
                    "port": {"value": u64::MAX, "source": "service"},
                    "url": {"value": "https://a\"b\n/", "source": "service"},
                    "none": {"value": null, "source": "service"},
                },
                "flags": {"later": {"is_active": false, "source": "service"}},
                "secrets": {"PASSWORD": {"value": "a\"b\n", "version": 3, "type": "text", "source": "service"}},
            })
        );
        assert_eq!(
            body(view.face(true)),
            json!({
                "synced_at": rfc3339(at(0)), "key_type": "pk", "service_kind": "backend",
                "configs": {
                    "port": {"value": u64::MAX, "source": "service"},
                    "none": {"value": null, "source": "service"},
                },
                "flags": {"later": {"is_active": false, "source": "service"}},
            })
        );
        assert!(!format!("{view:?}").contains("a\\\"b"));
    }

    #[test]
    fn a_frontend_service_hands_out_no_secret_whatever_the_key() {
        let mut parts = parts();
        parts.service.kind = Kind::Frontend;

        let of_secret_key = body(view(&parts, at(0)).face(false));

        assert_eq!((&of_secret_key["key_type"], &of_secret_key["secrets"]), (&json!("sk"), &Value::Null));
        assert_eq!(of_secret_key["configs"]["url"], Value::Null);
    }

    #[test]
    fn the_tag_stays_over_time_and_changes_with_a_turn_of_a_flag() {
        let parts = parts();
        let starts = leverframe::from_rfc3339("2026-05-28T20:27:00Z").unwrap();
        let (early, later, after) =
            (view(&parts, at(0)), view(&parts, starts - Duration::from_secs(1)), view(&parts, starts));

        assert_eq!(early.face(false).etag, later.face(false).etag);
        assert_ne!(early.face(false).body, later.face(false).body, "the time is in the body");
        for public in [false, true] {
            assert_ne!(later.face(public).etag, after.face(public).etag);
        }
        assert_ne!(early.face(false).etag, early.face(true).etag);
        assert!(early.is_good_at(starts - Duration::from_secs(1)) && !early.is_good_at(starts));
        assert!(after.until().is_none() && early.face(false).etag.len() <= 128);
    }

    #[test]
    fn what_cannot_be_resolved_is_named_at_write_time_and_left_out_at_answer_time() {
        let mut parts = parts();
        parts.remove(EntryKind::Secret, "PASSWORD");

        let (key, why) = check(&parts, at(0)).unwrap_err();

        assert_eq!((&*key, why), ("url", Unresolved::Unknown(EntryKind::Secret, "PASSWORD".into())));
        assert_eq!(body(view(&parts, at(0)).face(false))["configs"]["url"], Value::Null);
    }
}
