//! Counts pulses, many in one transaction.
//!
//! One task commits for all: while a commit is under way, pulses gather for the next. A lone pulse waits for nobody, and
//! under load a commit takes along everything that came during the one before.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch};

use super::{
    control::Control,
    model::{Pulse, SiteId, Verdict},
};
use crate::problem::Problem;

/// Pulses in a commit: beyond, one transaction would hold up others for too long.
const MOST: usize = 512;
/// KiB of pulses that may wait. Whoever comes after is asked to come back.
const ROOM: usize = 32 * 1_024;

type Outcome = Result<Verdict, Problem>;

/// Takes pulses to be counted.
#[derive(Debug)]
pub(super) struct Committer {
    queue: mpsc::UnboundedSender<Waiting>,
    /// Bounds the queue by what the pulses weigh.
    room: Arc<Semaphore>,
}

/// The pulses that wait, for the task that counts them.
pub(super) type Queue = mpsc::UnboundedReceiver<Waiting>;

/// A pulse, and whom to tell what became of it.
#[derive(Debug)]
pub(super) struct Waiting {
    pulse: Pulse,
    answer: oneshot::Sender<Outcome>,
    room: OwnedSemaphorePermit,
}

/// What became of a pulse, and whom to tell.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) site: SiteId,
    pub(super) outcome: Outcome,
    answer: oneshot::Sender<Outcome>,
}

impl Told {
    pub(super) fn tell(self) {
        // Who has gone meanwhile sends it again, and learns then that it is counted.
        let _ = self.answer.send(self.outcome);
    }
}

impl Committer {
    pub(super) fn new() -> (Self, Queue) {
        let (queue, waiting) = mpsc::unbounded_channel();
        (Self { queue, room: Arc::new(Semaphore::new(ROOM)) }, waiting)
    }

    /// Counts a pulse whose body had so many bytes; returns once it is durable.
    ///
    /// # Errors
    /// `unavailable` when too many wait already, or the store cannot be reached: then nothing is counted.
    pub(super) async fn count(&self, pulse: Pulse, bytes: usize) -> Outcome {
        let weight = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight).map_err(|error| match error {
            TryAcquireError::NoPermits => Problem::busy(),
            TryAcquireError::Closed => Problem::unavailable(),
        })?;
        let (answer, outcome) = oneshot::channel();
        // Refused and dropped alike mean that the server stops.
        self.queue.send(Waiting { pulse, answer, room }).map_err(|_| Problem::unavailable())?;
        outcome.await.unwrap_or_else(|_| Err(Problem::unavailable()))
    }
}

/// Counts what comes, until told to close; then what has come, and ends.
pub(super) async fn run(control: Arc<Control>, mut queue: Queue, mut closing: watch::Receiver<bool>) {
    let mut batch = Vec::with_capacity(MOST);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            count = queue.recv_many(&mut batch, MOST) => {
                if count == 0 {
                    return;
                }
                commit(&control, std::mem::take(&mut batch)).await;
            }
            () = closed(&mut closing), if open => {
                queue.close();
                open = false;
            }
        }
    }
}

/// Waits until the control plane is told to close.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the control plane is gone, which is later still.
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn commit(control: &Arc<Control>, batch: Vec<Waiting>) {
    let mut pulses = Vec::with_capacity(batch.len());
    let mut answers = Vec::with_capacity(batch.len());
    for Waiting { pulse, answer, room } in batch {
        pulses.push(pulse);
        answers.push((answer, room));
    }
    let outcomes: Vec<Outcome> = match count(control, &pulses).await {
        Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
        // What is wrong with one of them must not keep the others from being counted.
        Err(problem) if problem.code() == "internal" && pulses.len() > 1 => {
            let mut outcomes = Vec::with_capacity(pulses.len());
            for pulse in &pulses {
                outcomes.push(count(control, std::slice::from_ref(pulse)).await.map(|verdicts| verdicts[0]));
            }
            outcomes
        }
        Err(problem) => vec![Err(problem); pulses.len()],
    };
    let told = pulses
        .into_iter()
        .zip(answers)
        .zip(outcomes)
        .map(|((pulse, (answer, _room)), outcome)| Told { site: pulse.site, answer, outcome });
    control.counted(told.collect());
}

/// Returns what became of each, in their order.
async fn count(control: &Control, pulses: &[Pulse]) -> Result<Vec<Verdict>, Problem> {
    let (clock, metrics) = (control.clock(), &control.metrics().gate);
    let begun = clock.now();
    let counted = control.store().count_pulses(pulses, clock.wall()).await;
    metrics.commits.add(clock.now() - begun);
    metrics.committed.add(pulses.len() as u64);
    let verdicts = counted?;
    if verdicts.len() != pulses.len() {
        tracing::error!("the store has not said what became of every pulse");
        return Err(Problem::unavailable());
    }
    Ok(verdicts)
}
