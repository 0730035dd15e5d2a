//! Reads a repository of this machine where it stands: nothing is fetched, copied or written.

use std::path::Path;

use git2::{ErrorCode, Oid, Repository, RepositoryOpenFlags};

use super::{
    place::{Place, Selector},
    resolve::{self, Known},
    store::{commit_behind, commit_named, read_commit},
};
use crate::{
    Error, ErrorKind, Result,
    document::{Revision, Tree},
    sources::file::ReadLimits,
};

/// Brings the files, or nothing where `known` says that the caller has them.
pub(super) fn load(
    place: &Place,
    path: &Path,
    limits: &ReadLimits,
    known: Option<&Known>,
) -> Result<Option<(Oid, Revision, Tree)>> {
    let repository = open(place, path)?;
    let commit = resolve(place, &repository)?;
    if known.is_some_and(|known| known.commit == commit) {
        return Ok(None);
    }
    let (revision, tree) = read_commit(&repository, commit, place, limits)?;
    Ok(Some((commit, revision, tree)))
}

fn open(place: &Place, path: &Path) -> Result<Repository> {
    // Not looking upwards: a mistyped path must not find the repository that happens to be around it.
    let none: [&str; 0] = [];
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none).map_err(|error| {
        let (kind, hint) = match error.code() {
            ErrorCode::NotFound => (ErrorKind::NotFound, "name the repository itself: a folder that holds `.git`, or a bare one"),
            ErrorCode::Owner => (
                ErrorKind::PermissionDenied,
                "it belongs to another user; run as that one, or add it with `git config --global --add safe.directory`",
            ),
            _ => (ErrorKind::Io, "check that the process may read the repository, and that it is of the `sha1` format"),
        };
        Error::new(kind, "open the repository").with("uri", place).source(error).hint(hint)
    })
}

fn resolve(place: &Place, repository: &Repository) -> Result<Oid> {
    let selector = &place.selector;
    if let Selector::Commit(id) = selector {
        return commit_behind(repository, *id).map_err(|error| error.with("uri", place));
    }
    for name in selector.candidates() {
        if let Ok(id) = repository.refname_to_id(&name) {
            return commit_behind(repository, id).map_err(|error| error.with("uri", place));
        }
    }
    if let Some(abbreviation) = selector.abbreviation()
        && let Some(id) = commit_named(repository, &abbreviation)?
    {
        return Ok(id);
    }
    let mut names: Vec<String> = Vec::new();
    if let Ok(references) = repository.references() {
        names.extend(references.flatten().filter_map(|r| r.name().ok().map(str::to_owned)));
    }
    Err(resolve::missing(place, names.iter().map(String::as_str)))
}
