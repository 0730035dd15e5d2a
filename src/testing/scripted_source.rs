//! A source whose state a test sets.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use async_trait::async_trait;

use crate::{
    Error, ErrorKind, Result,
    document::{Content, Document, Revision},
    traits::{Load, Source},
};

/// A source in memory; clones are handles to one place, so a test keeps one and hands the other away.
///
/// # Examples
/// ```
/// use leverframe::{document::Content, live::block_on, testing::ScriptedSource, traits::{Load, Source}};
/// let source = ScriptedSource::new(Content::Bytes("a".into()));
/// source.set(Content::Bytes("b".into()));
/// let Load::Snapshot(document) = block_on(source.load(None))? else { panic!() };
/// assert_eq!(document.content(), &Content::Bytes("b".into()));
/// # Ok::<(), leverframe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ScriptedSource {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    content: Content,
    name: Option<String>,
    revision: u64,
    /// The revision that the last load saw.
    seen: u64,
    failure: Option<ErrorKind>,
    loads: u64,
    closed: bool,
    waiting: Vec<Waker>,
}

impl ScriptedSource {
    /// Makes a source that brings `content`.
    #[must_use]
    pub fn new(content: Content) -> Self {
        let shared = Shared {
            content,
            name: None,
            revision: 1,
            seen: 0,
            failure: None,
            loads: 0,
            closed: false,
            waiting: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Names the documents, as a directory's name does.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.lock().name = Some(name.into());
        self
    }

    /// Changes what is brought, and tells those who wait for a change.
    pub fn set(&self, content: Content) {
        let waiting = {
            let mut shared = self.lock();
            shared.content = content;
            shared.revision += 1;
            std::mem::take(&mut shared.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Lets every load fail with this kind, until [`ScriptedSource::mend`].
    pub fn fail(&self, kind: ErrorKind) {
        self.lock().failure = Some(kind);
    }

    /// Lets loads succeed again.
    pub fn mend(&self) {
        self.lock().failure = None;
    }

    /// Returns how many loads were asked for.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.lock().loads
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for ScriptedSource {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn load<'a>(&self, since: Option<&'a Revision>) -> Result<Load> {
        let mut shared = self.lock();
        shared.loads += 1;
        if shared.closed {
            return Err(Error::new(ErrorKind::Cancelled, "load from a closed source"));
        }
        shared.seen = shared.revision;
        if let Some(kind) = shared.failure {
            return Err(Error::new(kind, "load the scripted source"));
        }
        let revision = Revision::new(shared.revision.to_string());
        if since == Some(&revision) {
            return Ok(Load::Unchanged);
        }
        let document = Document::new(revision, shared.content.clone());
        Ok(Load::Snapshot(match &shared.name {
            Some(name) => document.named(name),
            None => document,
        }))
    }

    async fn changed(&self) -> Result<()> {
        poll_fn(|cx| {
            let mut shared = self.lock();
            if shared.revision != shared.seen {
                return Poll::Ready(Ok(()));
            }
            shared.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        self.lock().closed = true;
        Ok(())
    }
}
