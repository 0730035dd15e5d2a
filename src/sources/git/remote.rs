//! Brings the files of a repository on another machine: a question for the ref, and a fetch where it has moved.

use git2::Oid;

use super::{
    config::GitConfig,
    pack::PackFile,
    place::{Place, Selector},
    protocol::{Dialect, Ref, Session},
    resolve::{Known, missing},
    scratch::Scratch,
    store::{commit_behind, commit_named, open_pack, read_commit},
    wire::{Deadline, Wire},
};
use crate::{
    Error, ErrorKind, Result,
    document::{Revision, Tree},
};

/// One load.
pub(super) struct Remote<'l> {
    pub(super) place: &'l Place,
    pub(super) config: &'l GitConfig,
    pub(super) deadline: &'l Deadline,
    /// What the last load read, whether or not the caller still has it.
    pub(super) last: Option<&'l Known>,
    /// Whether the caller has what the last load read.
    pub(super) is_current: bool,
}

/// What to fetch, and the commit that is meant, where that is known before.
struct Target {
    want: Oid,
    commit: Option<Oid>,
}

impl Remote<'_> {
    /// Brings the files, or nothing where the caller has them; and what a later load may skip asking.
    pub(super) async fn load(
        &self,
        wire: Box<dyn Wire>,
        greeted: Option<Dialect>,
    ) -> Result<(Option<(Oid, Revision, Tree)>, Option<Dialect>)> {
        let mut session = Session::begin(wire, self.config.max_fetch_bytes, greeted).await?;
        let target = self.resolve(&mut session).await?;
        if let (Some(target), Some(last)) = (&target, self.last)
            && self.is_current
            && target.commit == Some(last.commit)
        {
            return Ok((None, session.dialect()));
        }
        let found = match &target {
            Some(target) if session.gives(target.want) => self.bring(&mut session, target.want).await?,
            // A server of the first version gives out tips only; what lies behind them comes with their history.
            Some(target) => self.search(&mut session, &target.want.to_string()).await?,
            None => {
                self.search(&mut session, &self.place.selector.abbreviation().unwrap_or_default()).await?
            }
        };
        Ok((Some(found), session.dialect()))
    }

    /// Finds what the selector means; `None` for the beginning of a commit's name that no ref answers to.
    async fn resolve(&self, session: &mut Session) -> Result<Option<Target>> {
        let selector = &self.place.selector;
        if let Selector::Commit(id) = selector {
            // It may be an annotated tag's name; what it leads to is seen when it is there.
            return Ok(Some(Target {
                want: *id,
                commit: self.last.map(|last| last.commit).filter(|c| c == id),
            }));
        }
        let candidates = selector.candidates();
        let refs = session.refs(&candidates).await?;
        for name in &candidates {
            if let Some(found) = refs.iter().find(|r| r.name == *name) {
                return Ok(Some(Target { want: found.id, commit: Some(found.commit()) }));
            }
        }
        let Some(abbreviation) = selector.abbreviation() else {
            return Err(match session.refs(&everything()).await {
                Ok(all) => missing(self.place, all.iter().map(|r| r.name.as_str())),
                Err(error) => Error::new(ErrorKind::NotFound, "find the ref in the repository")
                    .with("asked", selector)
                    .source(error)
                    .hint("name a branch, a tag or a commit behind `#` in the URI"),
            });
        };
        // A commit never changes: the one that was found once is the one that is meant.
        Ok(self
            .last
            .map(|last| last.commit)
            .filter(|c| c.to_string().starts_with(&abbreviation))
            .map(|commit| Target { want: commit, commit: Some(commit) }))
    }

    async fn bring(&self, session: &mut Session, want: Oid) -> Result<(Oid, Revision, Tree)> {
        let scratch = Scratch::new(&self.config.work_dir)?;
        let mut pack = self.pack(&scratch)?;
        session.fetch(&[want], true, &mut pack).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => error
                .with("object", want)
                .hint("check the commit's name; the server may also have dropped it since it was asked for its refs"),
            _ => error,
        })?;
        self.read(&open_pack(&scratch, &pack, self.deadline)?, want)
    }

    /// Looks through the branches, the tags and their history for the beginning of a commit's name.
    async fn search(&self, session: &mut Session, beginning: &str) -> Result<(Oid, Revision, Tree)> {
        let refs = session.refs(&everything()).await?;
        let mut tips: Vec<&Ref> =
            refs.iter().filter(|r| r.commit().to_string().starts_with(beginning)).collect();
        tips.dedup_by_key(|r| r.commit());
        if let [tip] = tips[..] {
            return self.bring(session, tip.id).await;
        }
        let mut wants: Vec<Oid> = refs
            .iter()
            .filter(|r| r.name.starts_with("refs/heads/") || r.name.starts_with("refs/tags/"))
            .map(|r| r.id)
            .collect();
        wants.sort_unstable();
        wants.dedup();
        let no_such_ref = || missing(self.place, refs.iter().map(|r| r.name.as_str()));
        if wants.is_empty() {
            return Err(no_such_ref());
        }
        let scratch = Scratch::new(&self.config.work_dir)?;
        let mut pack = self.pack(&scratch)?;
        session.fetch(&wants, false, &mut pack).await?;
        let repository = open_pack(&scratch, &pack, self.deadline)?;
        let commit = commit_named(&repository, beginning)?.ok_or_else(no_such_ref)?;
        self.read(&repository, commit)
    }

    fn pack(&self, scratch: &Scratch) -> Result<PackFile> {
        PackFile::create(&scratch.path().join("received"), self.config.max_fetch_bytes)
    }

    fn read(&self, repository: &git2::Repository, id: Oid) -> Result<(Oid, Revision, Tree)> {
        let commit = commit_behind(repository, id).map_err(|error: Error| error.with("uri", self.place))?;
        let (revision, tree) = read_commit(repository, commit, self.place, &self.config.limits())?;
        Ok((commit, revision, tree))
    }
}

/// The beginnings of the names that a person may mean.
fn everything() -> Vec<String> {
    ["refs/heads/", "refs/tags/"].map(str::to_owned).into()
}
