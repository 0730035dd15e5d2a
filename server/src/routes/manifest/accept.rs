//! What an uploaded archive has to pass before it may become a version. Pure, and slow: minutes of lint for nobody,
//! but tenths of a second for a large namespace.

use bytes::Bytes;
use http::StatusCode;
use leverframe::{
    ErrorKind,
    document::Tree,
    manifest::{
        Fingerprint, LintDiagnostic, LintOptions, Linted, Manifest, SIGNATURE_FILE, archive,
        lint::SCHEMA_MAJOR, lint_tree,
    },
};

use super::wire::Lint;
use crate::{model::NewVersion, problem::Problem};

/// An archive that was read and linted, whatever came of it.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) tree: Tree,
    pub(crate) linted: Linted,
    /// What is refused only because of the major of its `schema_version`.
    pub(crate) foreign: Vec<LintDiagnostic>,
}

/// An archive that may become a version, as it will be kept.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) tree: Tree,
    pub(crate) manifest: Manifest,
    pub(crate) lint: Lint,
    /// The archive, as it will be kept.
    pub(crate) new: NewVersion,
}

/// Reads an archive and lints it as the namespace of that slug.
///
/// # Errors
/// `bad_request` for what is no archive of a namespace, or of another one; `payload_too_large` beyond the limits.
pub(crate) fn examine(namespace: &str, bytes: &[u8]) -> Result<Examined, Problem> {
    let tree = archive::unpack(bytes).map_err(|error| unreadable(&error))?.tree;
    let options = LintOptions::new().with_slug(namespace).with_schema_major(SCHEMA_MAJOR);
    let linted = lint_tree(&tree, &options);
    let found = &linted.report.namespace;
    if found != namespace {
        return Err(Problem::bad_request(format!(
            "the archive is of namespace `{found}`, the path names `{namespace}`: push it to `{found}`, or correct \
             `slug` in its `namespace.toml`"
        ))
        .with("expected", namespace)
        .with("found", found.as_str()));
    }
    let foreign = if linted.report.passed() { Vec::new() } else { foreign(&tree, namespace, &linted) };
    Ok(Examined { tree, linted, foreign })
}

impl Examined {
    /// Packs what passed lint.
    ///
    /// # Errors
    /// `schema_version_mismatch`, `manifest_lint_failed`; `payload_too_large` if it cannot be packed.
    pub(crate) fn accept(self) -> Result<Candidate, Problem> {
        let lint = Lint::of(&self.linted.report);
        if !self.foreign.is_empty() {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "schema_version_mismatch",
                format!("files have a `schema_version` whose major is not {SCHEMA_MAJOR}, which this server supports"),
            )
            .with("supported_major", SCHEMA_MAJOR)
            .with("files", self.foreign.iter().map(|d| d.file.to_string()).collect::<Vec<_>>())
            .with("lint", lint.to_json()));
        }
        let Some(manifest) = self.linted.manifest else {
            let errors = lint.errors.len();
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "manifest_lint_failed",
                format!(
                    "lint found {errors} error{}; nothing was changed",
                    if errors == 1 { "" } else { "s" }
                ),
            )
            .with("lint", lint.to_json()));
        };
        // Packed anew, so that pulling and pushing gives the same bytes, and left-out files stay left out.
        let archive: Bytes = archive::pack(&self.tree).map_err(|error| unreadable(&error))?.into();
        // What a later start reads is what this process serves now.
        let tree = archive::unpack(&archive).map_err(|error| unreadable(&error))?.tree;
        let mut new = NewVersion::new(archive, content(&tree));
        new.flag_count = manifest.flags.len() as u64;
        new.segment_count = manifest.segments.len() as u64;
        Ok(Candidate { tree, manifest, lint, new })
    }
}

/// Digests what makes two versions the same: the files, and the signature, without which a namespace signed anew would
/// keep its old one.
fn content(tree: &Tree) -> String {
    let files = Fingerprint::of(tree).as_str().to_owned();
    match tree.get(SIGNATURE_FILE) {
        Some(_) => format!("{files}+{}", Fingerprint::of_paths(tree, [SIGNATURE_FILE]).as_str()),
        None => files,
    }
}

/// Finds the errors that are there because of the supported major and for no other reason.
fn foreign(tree: &Tree, namespace: &str, linted: &Linted) -> Vec<LintDiagnostic> {
    let any_major = lint_tree(tree, &LintOptions::new().with_slug(namespace)).report;
    let only_here = |d: &&LintDiagnostic| !any_major.diagnostics.contains(d);
    linted.report.errors().filter(only_here).cloned().collect()
}

/// The error names the entry and the reason, and says nothing but what the archive holds.
fn unreadable(error: &leverframe::Error) -> Problem {
    let message = error.chain().to_string();
    let problem = match error.kind() {
        ErrorKind::LimitExceeded => Problem::payload_too_large(message),
        _ => Problem::bad_request(message),
    };
    match error.hint_text() {
        Some(hint) => problem.with("hint", hint),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAG: &str = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
                        [flag.environments._]\nvariant = \"off\"\n";

    fn packed(files: &[(&str, &str)]) -> Vec<u8> {
        let tree: Tree = files.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        archive::pack(&tree).unwrap()
    }

    fn accepted(files: &[(&str, &str)]) -> Result<Candidate, Problem> {
        examine("shop", &packed(files)).and_then(Examined::accept)
    }

    #[test]
    fn what_was_accepted_packs_to_itself() {
        let first = accepted(&[("flags/a.toml", FLAG), ("leverframe.sig", "kept")]).unwrap();
        let again = examine("shop", &first.new.archive).and_then(Examined::accept).unwrap();

        assert_eq!(first.new.archive, again.new.archive);
        assert_eq!(first.new.fingerprint, again.new.fingerprint);
        assert!(first.tree.get("leverframe.sig").is_some());
    }

    #[test]
    fn a_new_signature_makes_another_version() {
        let kept =
            |signature| accepted(&[("flags/a.toml", FLAG), ("leverframe.sig", signature)]).unwrap().new;
        let unsigned = accepted(&[("flags/a.toml", FLAG)]).unwrap().new;

        assert_ne!(kept("one").fingerprint, kept("two").fingerprint);
        assert_ne!(kept("one").fingerprint, unsigned.fingerprint);
    }

    #[test]
    fn an_archive_of_another_namespace_is_told_so() {
        let other = "schema_version = \"0.1\"\n[namespace]\nslug = \"billing\"\n";
        let problem = accepted(&[("flags/a.toml", FLAG), ("namespace.toml", other)]).unwrap_err();

        assert_eq!(problem.code(), "bad_request");
        assert!(format!("{problem:?}").contains("namespace `billing`"));
    }

    #[test]
    fn another_major_is_no_plain_lint_error() {
        let newer = FLAG.replace("0.1", "1.0");
        let mismatch = accepted(&[("flags/a.toml", &newer)]).unwrap_err();
        let wrong = accepted(&[("flags/a.toml", &FLAG.replace("\"off\"", "\"of\""))]).unwrap_err();

        assert_eq!(mismatch.code(), "schema_version_mismatch");
        assert_eq!(wrong.code(), "manifest_lint_failed");
    }

    #[test]
    fn a_malformed_version_is_a_lint_error() {
        let malformed = accepted(&[("flags/a.toml", &FLAG.replace("0.1", "one"))]).unwrap_err();

        assert_eq!(malformed.code(), "manifest_lint_failed");
    }
}
