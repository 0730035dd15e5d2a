//! Where a namespace is: a directory, an archive, a URI.

use std::path::{Path, PathBuf};

use leverframe::{
    LintReport, LoadOptions,
    document::{Content, Document, Tree},
    eval::Program,
    live::block_on,
    manifest::{Fingerprint, LintOptions, Linted, Manifest, archive, lint_tree},
    sources::file::{FileConfig, ReadLimits, read_tree},
    traits::Load,
};

use crate::{
    failure::{Failure, exit},
    output::{Out, Sources, note_problems, refuse},
};

/// The files of a namespace with what lint says of them.
pub(crate) struct Place {
    pub(crate) tree: Tree,
    pub(crate) linted: Linted,
}

/// A namespace without errors.
pub(crate) struct Checked {
    pub(crate) manifest: Manifest,
    pub(crate) program: Program,
    pub(crate) fingerprint: Fingerprint,
}

impl Place {
    pub(crate) fn read(place: &str, schema_major: Option<u64>) -> Result<Self, Failure> {
        let path = match place.split_once("://") {
            None => PathBuf::from(place),
            Some(("file", _)) => FileConfig::of_uri(place)?.path,
            Some(_) => return Self::fetch(place, schema_major),
        };
        let resolved = path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = resolved.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut options = LintOptions::new();
        let tree = if resolved.is_dir() {
            options = options.with_directory(name);
            read_tree(&path, &ReadLimits::default())?
        } else {
            options = options.with_slug(leverframe::manifest::archive::slug_of_file(&name));
            archive::unpack(&read_file(&path)?).map_err(|e| e.with("path", path.display()))?.tree
        };
        Ok(Self::lint(tree, options, schema_major))
    }

    /// Loads what a URI of any registered scheme names.
    fn fetch(uri: &str, schema_major: Option<u64>) -> Result<Self, Failure> {
        let source = LoadOptions::new().source_of(uri)?;
        let Load::Snapshot(document) = block_on(source.load(None))? else {
            return Err(Failure::new(exit::IO, "the source brought no whole state"));
        };
        let (tree, options) = unpacked(document)?;
        Ok(Self::lint(tree, options, schema_major))
    }

    fn lint(tree: Tree, options: LintOptions, schema_major: Option<u64>) -> Self {
        let options = schema_major.into_iter().fold(options, LintOptions::with_schema_major);
        let linted = lint_tree(&tree, &options);
        Self { tree, linted }
    }

    pub(crate) fn report(&self) -> &LintReport {
        &self.linted.report
    }

    /// Reads a namespace to work with: warnings are noted, errors end the command.
    pub(crate) fn checked(place: &str, out: &mut Out) -> Result<Checked, Failure> {
        let Self { tree, linted } = Self::read(place, None)?;
        note_problems(&linted.report, &Sources(&tree), out);
        let manifest = linted.manifest.ok_or_else(|| refuse(&linted.report))?;
        let program = Program::compile(&manifest);
        Ok(Checked { program, manifest, fingerprint: Fingerprint::of(&tree) })
    }
}

/// Takes the files out of what a source brought, with what its name says of them.
pub(crate) fn unpacked(document: Document) -> leverframe::Result<(Tree, LintOptions)> {
    let name = document.name().map(str::to_owned);
    let options = LintOptions::new();
    Ok(match document.into_content() {
        Content::Tree(tree) => (tree, name.into_iter().fold(options, LintOptions::with_directory)),
        Content::Bytes(bytes) => {
            let slug = name.map(|name| archive::slug_of_file(&name));
            (archive::unpack(&bytes)?.tree, slug.into_iter().fold(options, LintOptions::with_slug))
        }
    })
}

/// Reads an archive of at most the size that an archive may have.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |error: std::io::Error| {
        Failure::new(exit::IO, format!("failed to read `{}`: {error}", path.display())).with_hint(
            "check the path; a namespace is a directory with a `flags` folder, or an archive of one",
        )
    };
    let size = std::fs::metadata(path).map_err(refuse)?.len();
    if size > archive::limits::COMPRESSED as u64 {
        return Err(Failure::new(
            exit::BAD,
            format!("`{}` is larger than {} bytes", path.display(), archive::limits::COMPRESSED),
        )
        .with_hint("an archive of a namespace is at most 5 MB; is this one?"));
    }
    std::fs::read(path).map_err(refuse)
}

/// Writes a file beside the target and renames it, so that nobody ever sees half of one.
///
/// It is readable as files of this user are: a service or a web server of another user is to read it.
pub(crate) fn replace(target: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let refuse = |error: std::io::Error| {
        Failure::new(exit::IO, format!("failed to write `{}`: {error}", target.display()))
    };
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // What the process's mask takes away is taken away.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder).map_err(refuse)?;
    std::io::Write::write_all(&mut temporary, bytes).map_err(refuse)?;
    temporary.persist(target).map_err(|error| refuse(error.error))?;
    Ok(())
}

/// Makes a directory for new files; refuses one that holds something.
pub(crate) fn new_directory(dir: &Path) -> Result<(), Failure> {
    let refuse = |error: std::io::Error| {
        Failure::new(exit::IO, format!("failed to make `{}`: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(refuse)?;
    if std::fs::read_dir(dir).map_err(refuse)?.next().is_some() {
        return Err(Failure::usage(format!("`{}` is not empty", dir.display()))
            .with_hint("name a new directory; nothing is overwritten"));
    }
    Ok(())
}

/// Writes the files of a tree below a directory.
pub(crate) fn write_tree(tree: &Tree, dir: &Path) -> Result<(), Failure> {
    for (path, entry) in tree.iter() {
        let target = dir.join(path);
        let refuse = |error: std::io::Error| {
            Failure::new(exit::IO, format!("failed to write `{}`: {error}", target.display()))
        };
        match entry {
            leverframe::document::Entry::File(content) => {
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent).map_err(refuse)?;
                }
                std::fs::write(&target, content).map_err(refuse)?;
            }
            leverframe::document::Entry::Directory => std::fs::create_dir_all(&target).map_err(refuse)?,
            _ => {}
        }
    }
    Ok(())
}
