//! Documents from a git repository: the files of a folder, as of a branch, a tag or a commit.
//!
//! Choose it where flags are reviewed and merged like code, and no build step stands between a merge and its
//! effect. The URI says everything:
//!
//! | URI | reached by |
//! |---|---|
//! | `git+ssh://[user@]host[:port]/path` | ssh; a deploy key (`ssh_key_file`) or the ssh agent; the user is `git` if left out |
//! | `git+https://host[:port]/path` | the transport; [`UriAuth`] or `user:password@` in the URI |
//! | `git+http://localhost…` | the transport, in the clear, to this machine only |
//! | `git+file:///path` | the repository is read where it stands |
//!
//! Behind `#` follow ref and folder, both optional: `#main`, `#:payments`, `#v1.2:flags/payments`. A ref is a branch,
//! else a tag, else the name of a commit in full or its first digits; full names such as `refs/pull/7/head` are
//! taken as they are. Without one it is the repository's HEAD.
//!
//! A poll asks for the one ref. Only if it leads to another commit than before, a fetch follows: of that commit
//! without its history, into a private folder that is gone when the load ends. The revision is the name that git
//! gives to the folder's content, so a commit that touches other folders, or one that takes a change back, is no
//! change. A commit given in full is never asked for again. A branch that was pushed over is a change like any other.
//!
//! Everything is bounded: time (`timeout_ms`), what comes over the network (`max_fetch_bytes`), what it unpacks to,
//! and what is read of it. Host keys are checked against known-hosts files as OpenSSH keeps them, and an unknown
//! host is refused; certificates are checked by the transport, whose `ca_file` adds an authority.
//!
//! It cannot: write, notice a push before the next poll, fetch submodules or files kept outside by LFS, read
//! repositories of the `sha256` format, talk to servers without the smart protocol, or log in by ssh with a
//! password or a certificate. Its own `ca_file` does not exist: whom to trust is the transport's setting. A commit
//! given by its first digits, and that no ref leads to, costs a fetch of the whole history, once.
//!
//! # Examples
//! ```
//! use leverframe::{live::block_on, sources::git::{GitConfig, GitSource}, traits::{Load, Source}};
//! # let dir = tempfile::tempdir().unwrap();
//! # let repository = git2::Repository::init(dir.path()).unwrap();
//! # let blob = repository.blob(b"").unwrap();
//! # let mut flags = repository.treebuilder(None).unwrap();
//! # flags.insert("new-checkout.toml", blob, 0o100644).unwrap();
//! # let flags = flags.write().unwrap();
//! # let mut root = repository.treebuilder(None).unwrap();
//! # root.insert("flags", flags, 0o040000).unwrap();
//! # let root = repository.find_tree(root.write().unwrap()).unwrap();
//! # let me = git2::Signature::now("a", "a@example.com").unwrap();
//! # repository.commit(Some("refs/heads/main"), &me, &me, "Add a flag", &root, &[]).unwrap();
//! # let uri = format!("git+file://{}#main", dir.path().display());
//! let source = GitSource::open(&uri, GitConfig::default())?;
//! let Load::Snapshot(document) = block_on(source.load(None))? else { unreachable!("a first load is whole") };
//! assert_eq!(block_on(source.load(Some(document.revision())))?, Load::Unchanged);
//! # Ok::<(), leverframe::Error>(())
//! ```

mod config;
mod http;
mod known_hosts;
mod local;
mod mailbox;
mod pack;
mod packet;
mod place;
mod protocol;
mod remote;
mod resolve;
mod scratch;
mod ssh;
mod ssh_session;
mod store;
mod wire;

use std::{
    fmt,
    future::{pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use async_trait::async_trait;
use git2::Oid;

pub use self::config::GitConfig;
use self::{
    http::HttpWire,
    place::{Carrier, Place, Selector},
    protocol::Dialect,
    remote::Remote,
    resolve::Known,
    ssh::{Running, SshWire},
    wire::{Deadline, Wire},
};
use crate::{
    Error, ErrorKind, Result, Retry, UriAuth,
    backends::clock_system::SystemClock,
    document::{Content, Document, Revision, Tree},
    live::Stop,
    register_source,
    registry::{BuildContext, Plugin},
    traits::{Clock, Load, Source, Transport},
};

/// The name under which the source is registered.
pub const NAME: &str = "git";

/// A source over a git repository; see the [module](self).
pub struct GitSource {
    place: Place,
    config: GitConfig,
    auth: Option<UriAuth>,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
    memory: Mutex<Memory>,
    running: Running,
    closed: Stop,
}

/// What the last load left for the next.
#[derive(Debug, Default)]
struct Memory {
    known: Option<Known>,
    greeted: Option<Dialect>,
}

/// Commit, revision and files; `None` where the caller has them.
type Brought = Option<(Oid, Revision, Tree)>;

impl GitSource {
    /// Opens the source; nothing is asked or read yet.
    ///
    /// # Errors
    /// `Invalid` where the URI is none of those in the [module's](self) table; the error does not show it.
    pub fn open(uri: &str, config: GitConfig) -> Result<Self> {
        Ok(Self {
            place: Place::of_uri(uri)?,
            config,
            auth: None,
            transport: None,
            clock: Arc::new(SystemClock::new()),
            memory: Mutex::default(),
            running: Running::default(),
            closed: Stop::new(),
        })
    }

    /// Sets the credentials for `git+https`; they count instead of those in the URI.
    #[must_use]
    pub fn with_auth(mut self, auth: UriAuth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Sets what `git+https` travels by.
    #[must_use]
    pub fn with_transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Goes by another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn bring(&self, since: Option<&Revision>, deadline: &Deadline) -> Result<Load> {
        let (last, greeted) = {
            let memory = self.memory();
            (memory.known.clone(), memory.greeted.clone())
        };
        let is_current = last.as_ref().is_some_and(|known| since == Some(&known.revision));
        if is_current
            && last.as_ref().is_some_and(|known| self.place.selector == Selector::Commit(known.commit))
        {
            return Ok(Load::Unchanged);
        }
        let brought = match &self.place.carrier {
            Carrier::File(path) => {
                let known = last.as_ref().filter(|_| is_current);
                local::load(&self.place, path, &self.config.limits(), known)?
            }
            Carrier::Http(_) | Carrier::Ssh(_) => {
                self.fetch(last.as_ref(), is_current, greeted, deadline).await?
            }
        };
        let Some((commit, revision, tree)) = brought else { return Ok(Load::Unchanged) };
        self.memory().known = Some(Known { commit, revision: revision.clone() });
        if since == Some(&revision) {
            return Ok(Load::Unchanged);
        }
        Ok(Load::Snapshot(Document::new(revision, Content::Tree(tree)).named(self.place.name())))
    }

    async fn fetch(
        &self,
        last: Option<&Known>,
        is_current: bool,
        greeted: Option<Dialect>,
        deadline: &Deadline,
    ) -> Result<Brought> {
        // Whatever goes wrong, the next load begins with a greeting: the server may be another by then.
        self.memory().greeted = None;
        let remote = Remote { place: &self.place, config: &self.config, deadline, last, is_current };
        let (brought, greeted) = remote.load(self.wire(deadline)?, greeted).await?;
        self.memory().greeted = greeted;
        Ok(brought)
    }

    fn wire(&self, deadline: &Deadline) -> Result<Box<dyn Wire>> {
        match &self.place.carrier {
            Carrier::Ssh(ssh) => {
                Ok(Box::new(SshWire::start(ssh, &self.config, &self.running, deadline.clone())?))
            }
            Carrier::Http(http) => {
                let transport = self.transport.as_ref().ok_or_else(|| self.no_transport())?;
                let limit = self.config.max_fetch_bytes;
                let auth = self.auth.as_ref();
                Ok(Box::new(HttpWire::new(Arc::clone(transport), http, auth, deadline.clone(), limit)?))
            }
            Carrier::File(_) => {
                Err(Error::new(ErrorKind::Unsupported, "fetch from a repository of this machine"))
            }
        }
    }

    fn no_transport(&self) -> Error {
        Error::new(ErrorKind::Config, "choose what `git+https` travels by")
            .with("uri", &self.place)
            .hint("hand a transport to `GitSource::with_transport`, or set `transport.use`")
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whole values are put there, and the worst that an old one costs is a fetch.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every error names the place.
    fn about(&self, error: Error) -> Error {
        let named = error.context().any(|(key, _)| key == "uri");
        if named { error } else { error.with("uri", &self.place) }
    }

    fn closed_error(&self) -> Error {
        Error::new(ErrorKind::Cancelled, "load from a closed source").with("uri", &self.place)
    }
}

#[async_trait]
impl Source for GitSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        if self.closed.is_stopped() {
            return Err(self.closed_error());
        }
        let deadline = Deadline::within(&self.clock, self.config.timeout());
        let mut work = pin!(self.bring(since, &deadline));
        let mut passed = pin!(deadline.passed());
        let mut closed = pin!(self.closed.stopped());
        poll_fn(|cx| {
            if let Poll::Ready(loaded) = work.as_mut().poll(cx) {
                return Poll::Ready(loaded.map_err(|error| self.about(error)));
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(self.closed_error()));
            }
            let late = || self.about(too_late().with("timeout_ms", self.config.timeout_ms));
            passed.as_mut().poll(cx).map(|()| Err(late()))
        })
        .await
    }

    async fn changed(&self) -> Result<()> {
        pending().await
    }

    async fn close(&self) -> Result<()> {
        self.closed.stop();
        *self.memory() = Memory::default();
        Ok(())
    }
}

impl fmt::Debug for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitSource")
            .field("uri", &self.place.to_string())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The load took longer than it may.
fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "load from the git repository")
        .retry(Retry::Now)
        .hint("see whether the server answers, or raise `source.git.timeout_ms`")
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn Source>> {
    let uri = context.uri().ok_or_else(|| {
        Error::new(ErrorKind::Config, "open the git source")
            .hint("give a URI, such as `git+ssh://git@host/flags.git#main:payments`")
    })?;
    let mut source = GitSource::open(uri, context.settings()?)?.with_clock(Arc::clone(context.clock()));
    source.auth = context.auth().cloned();
    source.transport = context.transport().cloned();
    if matches!(source.place.carrier, Carrier::Http(_)) && source.transport.is_none() {
        return Err(source.no_transport());
    }
    Ok(Arc::new(source))
}

/// How the source is registered.
pub const PLUGIN: Plugin<dyn Source> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("A folder of a git repository, over ssh, https or from disk; fetched when its ref moves")
    .with_schemes(&["git+ssh", "git+https", "git+http", "git+file"])
    .with_use_of_transport()
    .with_example(include_str!("example.toml"))
    .with_fields(GitConfig::FIELDS);
register_source!(PLUGIN);
