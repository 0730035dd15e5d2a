//! The thread that drives libcurl: every transfer of a transport, and the connections that they share.

use std::{
    collections::HashMap,
    fmt, io,
    sync::mpsc::{self, TryRecvError},
    thread,
    time::Duration,
};

use curl::{
    easy::Easy2,
    multi::{Easy2Handle, Multi, MultiWaker},
};

use super::{
    Settings,
    transfer::{Transfer, configured},
};
use crate::{
    Error, ErrorKind, Result, Retry,
    backends::{
        bridge::bridge,
        clock_system::SystemClock,
        http_client::{
            exchange::{CAPACITY, Reporter, Reports},
            hop::Hop,
        },
    },
    traits::{Clock, Tick},
};

/// A handle to the thread; when dropped, the thread ends with the last transfer.
pub(super) struct Driver {
    // Always there, but for the moment of dropping.
    jobs: Option<mpsc::Sender<Job>>,
    waker: MultiWaker,
}

struct Job {
    hop: Hop,
    deadline: Tick,
    reporter: Reporter,
}

impl Driver {
    /// Starts the thread.
    pub(super) fn start(settings: Settings) -> io::Result<Self> {
        let (jobs, incoming) = mpsc::channel();
        let (ready, waker) = mpsc::sync_channel(1);
        thread::Builder::new().name("leverframe-libcurl".to_owned()).spawn(move || {
            let multi = Multi::new();
            // Whoever started the thread waits for this and is there.
            let _ = ready.send(multi.waker());
            Thread { multi, settings, incoming, open: true, active: HashMap::new(), next: 0 }.run();
        })?;
        let waker = waker.recv().map_err(|_| io::Error::other("libcurl could not be set up"))?;
        Ok(Self { jobs: Some(jobs), waker })
    }

    /// Hands a request over; `None` where the thread is gone.
    pub(super) fn submit(&self, hop: &Hop, left: Duration) -> Option<Reports> {
        let waker = self.waker.clone();
        let (reporter, reports) = bridge(CAPACITY, move |_| wake(&waker));
        let job = Job { hop: hop.clone(), deadline: SystemClock::new().now() + left, reporter };
        self.jobs.as_ref()?.send(job).ok()?;
        wake(&self.waker);
        Some(reports)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.jobs = None;
        wake(&self.waker);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver(…)")
    }
}

fn wake(waker: &MultiWaker) {
    // A thread that is gone needs no waking.
    let _ = waker.wakeup();
}

struct Thread {
    multi: Multi,
    settings: Settings,
    incoming: mpsc::Receiver<Job>,
    open: bool,
    active: HashMap<usize, Easy2Handle<Transfer>>,
    next: usize,
}

impl Thread {
    fn run(mut self) {
        loop {
            self.take_jobs();
            self.forget_unwanted();
            self.resume();
            if let Err(error) = self.multi.perform() {
                self.give_up(&error);
            }
            self.finish();
            self.report_heads();
            if !self.open && self.active.is_empty() {
                return;
            }
            // Wakes up earlier for what happens on a connection, for libcurl's own timers, and when told to.
            if let Err(error) = self.multi.poll(&mut [], LONGEST_WAIT) {
                self.give_up(&error);
            }
        }
    }

    fn take_jobs(&mut self) {
        while self.open {
            match self.incoming.try_recv() {
                Ok(job) => self.add(job),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.open = false,
            }
        }
    }

    fn add(&mut self, job: Job) {
        let reporter = job.reporter.clone();
        if let Err(error) = self.try_add(job) {
            // Where nobody listens any more, nobody needs to know.
            let _ = reporter.push(Err(error));
        }
    }

    fn try_add(&mut self, job: Job) -> Result<()> {
        let Job { hop, deadline, reporter } = job;
        let left = deadline - SystemClock::new().now();
        let easy = configured(hop, reporter, &self.settings, left)?;
        let mut handle = self.multi.add2(easy).map_err(|e| broken(&e))?;
        handle.set_token(self.next).map_err(|e| broken(&e))?;
        self.active.insert(self.next, handle);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    fn forget_unwanted(&mut self) {
        let unwanted = self.active.extract_if(|_, handle| handle.get_ref().is_unwanted());
        for (_, handle) in unwanted {
            detach(&self.multi, handle);
        }
    }

    fn resume(&mut self) {
        for handle in self.active.values_mut() {
            if handle.get_ref().may_resume() {
                handle.get_mut().resume();
                // What goes wrong here ends the transfer, and comes as its outcome.
                let _ = handle.unpause_write();
            }
        }
    }

    /// Reports those that have ended.
    fn finish(&mut self) {
        let mut ended: Vec<(usize, Option<(u32, String)>)> = Vec::new();
        self.multi.messages(|message| {
            let Ok(token) = message.token() else { return };
            let outcome = self.active.get(&token).and_then(|handle| message.result_for2(handle));
            let Some(outcome) = outcome else { return };
            let failure = outcome.err().map(|error| {
                let words = error.extra_description().unwrap_or_else(|| error.description());
                (error.code(), words.to_owned())
            });
            ended.push((token, failure));
        });
        for (token, failure) in ended {
            let Some(handle) = self.active.remove(&token) else { continue };
            if let Some(mut easy) = detach(&self.multi, handle) {
                easy.get_mut().finish(&self.settings, failure);
            }
        }
    }

    /// Reports the heads of answers that have no body yet.
    fn report_heads(&mut self) {
        for handle in self.active.values_mut() {
            // A proxy's answer to CONNECT is a head as well, but not that of the answer.
            let from_proxy = usize::from(handle.http_connectcode().is_ok_and(|code| code != 0));
            if handle.get_ref().waiting_heads() > from_proxy {
                handle.get_mut().report_head();
            }
        }
    }

    /// Ends every transfer where libcurl itself fails.
    fn give_up(&mut self, error: &curl::MultiError) {
        for (_, handle) in self.active.drain() {
            handle.get_ref().report(Err(broken(error)));
            detach(&self.multi, handle);
        }
        // It may fail again at once; that must not keep a processor busy.
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Takes a transfer out; where its answer is not whole, the connection goes with it.
fn detach(multi: &Multi, handle: Easy2Handle<Transfer>) -> Option<Easy2<Transfer>> {
    multi.remove2(handle).inspect_err(|error| tracing::debug!(%error, "libcurl kept a transfer")).ok()
}

fn broken(error: &(impl std::error::Error + ?Sized)) -> Error {
    Error::new(ErrorKind::Io, "drive libcurl").with("reason", error).retry(Retry::Now)
}

const LONGEST_WAIT: Duration = Duration::from_secs(60);
