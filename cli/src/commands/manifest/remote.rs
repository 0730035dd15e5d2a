//! `leverframe manifest push|pull|versions|diff|rollback`

use std::path::Path;

use leverframe::{
    IfVersion, ManifestClient,
    flags::{ManifestVersion, PushedManifest},
    live::block_on,
};
use serde_json::{Value, json};

use crate::{
    args::{Format, PullArgs, PushArgs, RemoteArgs, RollbackArgs, VersionDiffArgs, VersionsArgs},
    failure::{Failure, exit},
    output::{BOLD, Envelope, Out, Sources, YELLOW, note_problems, plural, refuse, styled},
    place::Place,
    reach::Reach,
};

pub(super) fn push(args: &PushArgs, out: &mut Out) -> Result<u8, Failure> {
    let remote = Remote::open(&args.remote, &args.namespace)?;
    // The library lints as well; here the findings are drawn with their lines.
    let place = Place::read(&args.dir.to_string_lossy(), None)?;
    note_problems(place.report(), &Sources(&place.tree), out);
    if place.report().has_errors() {
        return Err(refuse(place.report()));
    }
    let if_version = args.if_version.map(IfVersion);
    let pushed = block_on(remote.client.push(&remote.namespace, &args.dir, if_version))?;
    let same = args.if_version == Some(pushed.version);
    let input = json!({ "dir": args.dir, "if_version": args.if_version });
    remote.report("manifest-push", input, &pushed, out, |counts| {
        let end = if same { ": it has this content already, nothing was stored" } else { counts };
        format!("version {}{end}", pushed.version)
    })
}

pub(super) fn rollback(args: &RollbackArgs, out: &mut Out) -> Result<u8, Failure> {
    let remote = Remote::open(&args.remote, &args.namespace)?;
    let pushed = block_on(remote.client.rollback(&remote.namespace, args.version))?;
    remote.report("manifest-rollback", json!({ "version": args.version }), &pushed, out, |_| {
        format!("version {} has the content of version {}", pushed.version, args.version)
    })
}

pub(super) fn pull(args: &PullArgs, out: &mut Out) -> Result<u8, Failure> {
    let remote = Remote::open(&args.remote, &args.namespace)?;
    let dir = args.dir.as_deref().unwrap_or(Path::new(&remote.namespace));
    let meta = block_on(remote.client.pull(&remote.namespace, args.version, dir))?;
    match args.remote.at.format.format {
        Format::Human => {
            let (flags, segments) = (plural(meta.flag_count, "flag"), plural(meta.segment_count, "segment"));
            let (written, removed) = (plural(meta.written, "file"), meta.removed);
            out.line(format!(
                "{}: version {}, {flags}, {segments} — {written} written, {removed} removed in {}",
                styled(BOLD, &remote.namespace),
                meta.version,
                dir.display()
            ))?;
        }
        Format::Json => {
            let result = json!({
                "version": meta.version,
                "dir": dir,
                "flag_count": meta.flag_count,
                "segment_count": meta.segment_count,
                "size": meta.size,
                "sha256": meta.sha256,
                "files_written": meta.written,
                "files_removed": meta.removed,
            });
            let input = json!({ "version": args.version.to_string(), "dir": dir });
            remote.envelope("manifest-pull", input).version(meta.version).write(out, result)?;
        }
    }
    Ok(exit::OK)
}

pub(super) fn versions(args: &VersionsArgs, out: &mut Out) -> Result<u8, Failure> {
    let remote = Remote::open(&args.remote, &args.namespace)?;
    let versions = block_on(remote.client.latest_versions(&remote.namespace, args.limit))?;
    match args.remote.at.format.format {
        Format::Human => table(&versions, out)?,
        Format::Json => {
            let list: Vec<Value> = versions
                .iter()
                .map(|v| {
                    json!({
                        "version": v.version,
                        "uploaded_at": v.uploaded_at,
                        "uploaded_by": v.uploaded_by,
                        "flag_count": v.flag_count,
                        "segment_count": v.segment_count,
                        "sha256": v.sha256,
                        "size": v.size,
                    })
                })
                .collect();
            remote
                .envelope("manifest-versions", json!({ "limit": args.limit }))
                .write(out, json!({ "versions": list }))?;
        }
    }
    Ok(exit::OK)
}

fn table(versions: &[ManifestVersion], out: &mut Out) -> Result<(), Failure> {
    if versions.is_empty() {
        out.note("there is no version yet");
        return Ok(());
    }
    let width = versions.iter().map(|v| v.uploaded_by.len()).max().unwrap_or(0).max("uploaded by".len());
    let head = format!(
        "{:>7}  {:<24}  {:<width$}  {:>5}  {:>8}  {:>9}",
        "version", "uploaded at", "uploaded by", "flags", "segments", "bytes"
    );
    out.line(styled(BOLD, head))?;
    for v in versions {
        out.line(format!(
            "{:>7}  {:<24}  {:<width$}  {:>5}  {:>8}  {:>9}",
            v.version, v.uploaded_at, v.uploaded_by, v.flag_count, v.segment_count, v.size
        ))?;
    }
    Ok(())
}

pub(super) fn diff(args: &VersionDiffArgs, out: &mut Out) -> Result<u8, Failure> {
    let remote = Remote::open(&args.remote, &args.namespace)?;
    let diff = block_on(remote.client.diff(&remote.namespace, args.old, args.new))?;
    match args.remote.at.format.format {
        Format::Human => out.text(diff.to_string())?,
        Format::Json => {
            let input = json!({ "old": args.old.to_string(), "new": args.new.to_string() });
            remote.envelope("manifest-diff", input).write(out, diff.to_json())?;
        }
    }
    Ok(exit::OK)
}

/// A namespace on a server, with the client that reaches it.
struct Remote<'a> {
    args: &'a RemoteArgs,
    client: ManifestClient,
    server: String,
    tenant: Option<String>,
    namespace: String,
}

impl<'a> Remote<'a> {
    fn open(args: &'a RemoteArgs, namespace: &str) -> Result<Self, Failure> {
        let (in_name, namespace) = match namespace.split_once('/') {
            Some((tenant, namespace)) => (Some(tenant.to_owned()), namespace.to_owned()),
            None => (None, namespace.to_owned()),
        };
        let tenant = match (args.tenant.clone(), in_name) {
            (Some(given), Some(named)) if given != named => {
                return Err(Failure::usage(format!(
                    "`--tenant {given}` and `{named}/` name different tenants"
                ))
                .with_hint("name the tenant once"));
            }
            (given, named) => given.or(named),
        };
        let reach = Reach::of(&args.at)?;
        let tenant = tenant.or(reach.tenant()?);
        let client = ManifestClient::new(&reach.url, reach.token.expose());
        let client = tenant.iter().fold(client, |client, tenant| client.with_tenant(tenant));
        let client = args
            .at
            .http_backend
            .iter()
            .fold(client, |client, backend| client.with_http_backend((*backend).into()));
        Ok(Self { args, client, server: reach.url, tenant, namespace })
    }

    fn envelope(&self, query: &'static str, input: Value) -> Envelope {
        let mut inputs = json!({ "server": self.server, "tenant": self.tenant, "namespace": self.namespace });
        if let (Value::Object(inputs), Value::Object(more)) = (&mut inputs, input) {
            inputs.extend(more);
        }
        Envelope::new(query, inputs, &self.server)
    }

    /// Tells what a write has led to, and what the server's lint says of it.
    fn report(
        &self,
        query: &'static str,
        input: Value,
        pushed: &PushedManifest,
        out: &mut Out,
        in_words: impl Fn(&str) -> String,
    ) -> Result<u8, Failure> {
        match self.args.at.format.format {
            Format::Human => {
                let (flags, segments) = (pushed.flag_count as usize, pushed.segment_count as usize);
                let counts = format!(", {}, {}", plural(flags, "flag"), plural(segments, "segment"));
                out.line(format!("{}: {}", styled(BOLD, &self.namespace), in_words(&counts)))?;
                if !pushed.lint.warnings.is_empty() {
                    let warnings = plural(pushed.lint.warnings.len(), "warning");
                    out.note(format!("{}: {warnings} of the server's lint", styled(YELLOW, "note")));
                }
            }
            Format::Json => {
                let warnings: Vec<Value> = pushed
                    .lint
                    .warnings
                    .iter()
                    .map(|w| json!({ "code": w.code, "file": w.file, "line": w.line, "message": w.message }))
                    .collect();
                let result = json!({
                    "version": pushed.version,
                    "uploaded_at": pushed.uploaded_at,
                    "flag_count": pushed.flag_count,
                    "segment_count": pushed.segment_count,
                    "warnings": warnings,
                });
                self.envelope(query, input).version(pushed.version).write(out, result)?;
            }
        }
        Ok(exit::OK)
    }
}
