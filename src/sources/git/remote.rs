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
        let found = match target {
            Some(target) => self.bring(&mut session, &target).await?,
            None => self.search(&mut session).await?,
        };
        Ok((Some(found), session.dialect()))
    }

    /// Finds what the selector means; `None` for the beginning of a commit's name that no ref answers to.
    async fn resolve(&self, session: &mut Session) -> Result<Option<Target>> {
        let selector = &self.place.selector;
        if let Selector::Commit(id) = selector {
            // It may be an annotated tag's name; what it leads to is seen when it is there.
            return Ok(Some(Target { want: *id, commit: self.last.map(|last| last.commit).filter(|c| c == id) }));
        }
        let candidates = selector.candidates();
        let refs = session.refs(&candidates).await?;
        for name in &candidates {
            if let Some(found) = refs.iter().find(|r| r.name == *name) {
                return Ok(Some(Target { want: found.id, commit: Some(found.commit()) }));
            }
        }
        let Some(abbreviation) = selector.abbreviation() else {
            let all = session.refs(&everything()).await?;
            return Err(missing(self.place, all.iter().map(|r| r.name.as_str())));
        };
        // A commit never changes: the one that was found once is the one that is meant.
        Ok(self.last.map(|last| last.commit).filter(|c| c.to_string().starts_with(&abbreviation)).map(|commit| Target {
            want: commit,
            commit: Some(commit),
        }))
    }

    async fn bring(&self, session: &mut Session, target: &Target) -> Result<(Oid, Revision, Tree)> {
        let scratch = Scratch::new(&self.config.work_dir)?;
        let mut pack = self.pack(&scratch, "newest.pack")?;
        let fetched = session.fetch(&[target.want], true, &mut pack).await;
        let is_pinned = target.commit.is_none() || matches!(self.place.selector, Selector::Commit(_));
        let repository = match fetched {
            Ok(()) => open_pack(&scratch, &pack, self.deadline)?,
            Err(error) if error.kind() == ErrorKind::NotFound && is_pinned => {
                return Err(error.with("uri", self.place).with("commit", target.want).hint(
                    "check the commit's name; a server that speaks only the first version of the protocol gives out \
                     tips of branches and tags alone: name one of these, or let it accept the variable GIT_PROTOCOL",
                ));
            }
            Err(error) => return Err(error),
        };
        self.read(&repository, target.want)
    }

    /// Looks through the history of all branches and tags for the beginning of a commit's name.
    async fn search(&self, session: &mut Session) -> Result<(Oid, Revision, Tree)> {
        let abbreviation = self.place.selector.abbreviation().unwrap_or_default();
        let refs = session.refs(&everything()).await?;
        let is_tip = |r: &&Ref| r.commit().to_string().starts_with(&abbreviation);
        let mut tips: Vec<&Ref> = refs.iter().filter(is_tip).collect();
        tips.dedup_by_key(|r| r.commit());
        if let [tip] = tips[..] {
            return self.bring(session, &Target { want: tip.id, commit: Some(tip.commit()) }).await;
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
        let mut pack = self.pack(&scratch, "history.pack")?;
        session.fetch(&wants, false, &mut pack).await?;
        let repository = open_pack(&scratch, &pack, self.deadline)?;
        let commit = commit_named(&repository, &abbreviation)?.ok_or_else(no_such_ref)?;
        self.read(&repository, commit)
    }

    fn pack(&self, scratch: &Scratch, name: &str) -> Result<PackFile> {
        PackFile::create(&scratch.path().join(name), self.config.max_fetch_bytes)
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
