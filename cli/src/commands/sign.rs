//! `leverframe keygen|sign|verify`

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use leverframe::{
    LoadOptions, Secret,
    backends::clock_system::SystemClock,
    document::Tree,
    live::block_on,
    manifest::{
        Fingerprint,
        signature::{self, PublicKey, Signature, SigningKey, Trust},
    },
    sources::file::{FileConfig, FileSource},
    traits::{Clock, Load, Source},
};
use serde_json::json;

use crate::{
    args::{Format, KeygenArgs, SignArgs, VerifyArgs},
    duration::duration,
    failure::{Failure, exit},
    output::{Envelope, GREEN, Out, plural, refuse, styled},
    place::{Place, replace, unpacked},
};

pub(super) fn keygen(args: &KeygenArgs, out: &mut Out) -> Result<u8, Failure> {
    let key = SigningKey::generate()?;
    let text = key.to_text()?;
    write_secret(&args.file, &text).map_err(|error| {
        let failed = Failure::new(exit::IO, format!("failed to write `{}`: {error}", args.file.display()));
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => failed.with_hint("name a new file; no key is overwritten"),
            _ => failed.with_hint("check the folder and its permissions"),
        }
    })?;
    out.note(format!(
        "the secret key is in `{}`, readable by you only; give out the public key, `trusted_keys` takes it:",
        args.file.display()
    ));
    out.line(key.public().to_string())?;
    Ok(exit::OK)
}

pub(super) fn sign(args: &SignArgs, out: &mut Out) -> Result<u8, Failure> {
    let keys = args.keys.iter().map(|path| read_key(path)).collect::<Result<Vec<_>, _>>()?;
    let place = Place::read(&args.place.to_string_lossy(), None)?;
    if place.report().has_errors() {
        return Err(refuse(place.report()));
    }
    let digest = Fingerprint::of(&place.tree);
    let path = signature_path(&args.place);
    let before = match fs::read(&path) {
        Ok(bytes) => Some(Signature::parse(&bytes).map_err(|e| e.with("path", path.display()))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(Failure::new(exit::IO, format!("failed to read `{}`: {error}", path.display())));
        }
    };
    let mut made =
        if args.add { existing(before, &digest, &path)? } else { new(args, before, &place, &digest)? };
    for key in &keys {
        made.sign(key);
    }
    replace(&path, made.to_string().as_bytes())?;
    out.line(format!(
        "{}: {} counter {}, {}",
        path.display(),
        digest.short(made.namespace()),
        made.counter(),
        plural(made.keys().count(), "signature")
    ))?;
    Ok(exit::OK)
}

pub(super) fn verify(args: &VerifyArgs, out: &mut Out) -> Result<u8, Failure> {
    let keys = args.trusted.iter().map(|text| text.parse::<PublicKey>()).collect::<Result<Vec<_>, _>>()?;
    let trust = Trust::new(keys, args.threshold)?;
    let (tree, detached) = read(&args.place)?;
    let digest = Fingerprint::of(&tree);
    let inside = tree.file(signature::FILE_NAME).map(|bytes| bytes.to_vec());
    let Some(bytes) = detached.or(inside) else {
        return Err(Failure::new(exit::BAD, format!("`{}` has no signature", args.place))
            .with_hint("sign it with `leverframe sign`"));
    };
    let now = SystemClock::new().wall();
    let verified = trust.verify(&bytes, &digest, now, args.lowest_counter).map_err(|error| {
        let hint = error.hint_text().map(str::to_owned);
        let failure = Failure::new(exit::BAD, error.to_string());
        hint.into_iter().fold(failure, Failure::with_hint)
    })?;
    match args.format.format {
        Format::Human => out.line(format!(
            "{}: {} counter {}, signed by {}",
            styled(GREEN, "verified"),
            digest.short(&verified.namespace),
            verified.counter,
            verified.signers.join(", ")
        ))?,
        Format::Json => {
            let inputs = json!({ "trusted": args.trusted, "threshold": args.threshold });
            let expires = verified.expires.map(leverframe::rfc3339);
            let result = json!({
                "namespace": verified.namespace, "digest": digest.as_str(), "counter": verified.counter,
                "expires": expires, "signers": verified.signers,
            });
            Envelope::new("verify", inputs, &args.place).write(out, result)?;
        }
    }
    Ok(exit::OK)
}

/// Makes the signature of the present state.
fn new(
    args: &SignArgs,
    before: Option<Signature>,
    place: &Place,
    digest: &Fingerprint,
) -> Result<Signature, Failure> {
    let last = before.map_or(0, |before| before.counter());
    let counter = args.counter.unwrap_or(last.saturating_add(1));
    if counter <= last {
        return Err(Failure::usage(format!(
            "the counter {counter} is not above {last}, which was signed before"
        ))
        .with_hint("whoever served that state refuses a lower counter; leave `--counter` out"));
    }
    let signature = Signature::new(&place.report().namespace, digest, counter);
    match &args.expires {
        None => Ok(signature),
        Some(text) => {
            let pause = duration(text).ok_or_else(|| {
                Failure::usage(format!("`--expires {text}` is no duration"))
                    .with_hint("write it as 90d, 12h or 30m")
            })?;
            Ok(signature.expiring(SystemClock::new().wall() + pause)?)
        }
    }
}

/// Takes the signature that is there, if it is over the present state.
fn existing(before: Option<Signature>, digest: &Fingerprint, path: &Path) -> Result<Signature, Failure> {
    let before = before.ok_or_else(|| {
        Failure::usage(format!("there is no signature at `{}` to add to", path.display()))
            .with_hint("leave `--add` out to make the first")
    })?;
    if before.digest() != digest.as_str() {
        return Err(Failure::new(exit::BAD, format!("`{}` is over other files", path.display()))
            .with_hint("the files changed since: sign them anew, without `--add`"));
    }
    Ok(before)
}

fn read_key(path: &Path) -> Result<SigningKey, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(exit::IO, format!("failed to read `{}`: {error}", path.display()))
            .with_hint("make a key with `leverframe keygen FILE`")
    })?;
    // Wiped with the value that holds it.
    let text = Secret::new(text);
    Ok(SigningKey::from_text(text.expose()).map_err(|error| error.with("path", path.display()))?)
}

/// Reads the files and what stands beside them.
fn read(place: &str) -> Result<(Tree, Option<Vec<u8>>), Failure> {
    let source = if place.contains("://") {
        LoadOptions::new().source_of(place)?
    } else {
        std::sync::Arc::new(FileSource::open(FileConfig::at(place))) as std::sync::Arc<dyn Source>
    };
    let Load::Snapshot(document) = block_on(source.load(None))? else {
        return Err(Failure::new(exit::IO, "the source brought no whole state"));
    };
    let detached = document.signature().map(|bytes| bytes.to_vec());
    let (tree, _) = unpacked(document)?;
    Ok((tree, detached))
}

fn signature_path(place: &Path) -> PathBuf {
    if place.is_dir() {
        return place.join(signature::FILE_NAME);
    }
    let mut path = place.as_os_str().to_owned();
    path.push(signature::EXTENSION);
    path.into()
}

fn write_secret(path: &Path, text: &Secret) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", text.expose())?;
    file.sync_all()
}
