//! The thread that speaks to the server, so that no caller's thread has to wait on a socket.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    task::Poll,
    thread,
};

use futures_channel::oneshot;
use leverframe::{Error, Result, Retry};

use crate::{connection::Session, failure::Failure, target::Target};

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A thread that is started by the first job and ends with the worker.
pub(crate) struct Worker {
    target: Target,
    jobs: Mutex<Jobs>,
}

enum Jobs {
    NotStarted,
    Running(Sender<Job>),
    Stopped,
}

impl Worker {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, jobs: Mutex::new(Jobs::NotStarted) }
    }

    /// Queues work; the receiver gets what it returns, or nothing where the worker was stopped first.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>> {
        let (reply, receiver) = oneshot::channel();
        let mut job: Job = Box::new(move |session| {
            if !reply.is_canceled() {
                // The caller may go at any time; that is its own affair.
                let _ = reply.send(work(session));
            }
        });
        // Poison means that a thread could not be started: what is kept is whole.
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Jobs::Running(sender) = &*jobs {
            match sender.send(job) {
                Ok(()) => return Ok(receiver),
                // The thread is gone, which a panic in a library can do: another takes over.
                Err(mpsc::SendError(back)) => job = back,
            }
        }
        if !matches!(*jobs, Jobs::Stopped) {
            let sender = self.start()?;
            // The thread was started a line ago and holds the receiving end.
            let _ = sender.send(job);
            *jobs = Jobs::Running(sender);
        }
        Ok(receiver)
    }

    /// Ends the thread after the job at hand.
    pub(crate) fn stop(&self) {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = Jobs::Stopped;
    }

    fn start(&self) -> Result<Sender<Job>> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let mut session = Session::new(self.target.clone());
        let thread = thread::Builder::new().name("leverframe-redis".to_owned());
        thread.spawn(move || jobs.into_iter().for_each(|job| job(&mut session))).map_err(|error| {
            Error::from_io("start the thread of the redis cache", error)
                .retry(Retry::Now)
                .hint("the system has no thread left; look at its limits")
        })?;
        Ok(sender)
    }
}

/// Waits for a reply, and for `limit` at most.
pub(crate) async fn by<T>(
    reply: oneshot::Receiver<Result<T, Failure>>,
    limit: impl Future<Output = ()>,
) -> Result<T, Failure> {
    let (mut reply, mut limit) = (pin!(reply), pin!(limit));
    poll_fn(|cx| match reply.as_mut().poll(cx) {
        Poll::Ready(Ok(outcome)) => Poll::Ready(outcome),
        Poll::Ready(Err(oneshot::Canceled)) => Poll::Ready(Err(Failure::gone())),
        Poll::Pending => limit.as_mut().poll(cx).map(|()| Err(Failure::timeout())),
    })
    .await
}
