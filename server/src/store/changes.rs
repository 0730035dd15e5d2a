//! The log of changes, which every process follows: what was committed is told, in order, by whichever way a process
//! comes to look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use leverframe::{Backoff, Result, traits::Clock};
use tokio::sync::{Notify, broadcast};

use super::{
    Notice,
    engine::{Connection, Engine, Mode, Row, Value, Work},
};

/// How many changes are kept for those who have not seen them: a process that is further behind looks at everything.
const KEPT: i64 = 10_000;
/// How many are told one by one.
const AT_ONCE: i64 = 1_000;

/// Adds a change to the log, in the transaction that makes it, and last: whoever follows waits until this ends.
pub(super) async fn log(on: &mut dyn Connection, change: &Notice) -> Result<()> {
    let number = "UPDATE change_counter SET seq = seq + 1 WHERE one = 1 RETURNING seq";
    let number = on.first(number, &[]).await?.map(|mut row| row.int()).transpose()?.unwrap_or_default();
    let text = |text: &String| Value::from(text);
    let nothing = || Value::Null;
    // Kind, tenant, namespace, version, token, environment.
    let told = match change {
        Notice::Manifest { tenant, namespace, version } => {
            ["manifest".into(), text(tenant), text(namespace), (*version).into(), nothing(), nothing()]
        }
        Notice::TokenRevoked { id } => {
            ["token_revoked".into(), nothing(), nothing(), nothing(), text(id), nothing()]
        }
        Notice::Gate { org } => ["gate".into(), text(org), nothing(), nothing(), nothing(), nothing()],
        Notice::Settings { tenant, namespace, environment } => {
            ["settings".into(), text(tenant), text(namespace), nothing(), nothing(), text(environment)]
        }
        Notice::Everything => ["everything".into(), nothing(), nothing(), nothing(), nothing(), nothing()],
    };
    let values: Vec<_> = [Value::from(number)].into_iter().chain(told).collect();
    on.put(
        "INSERT INTO changes (seq, kind, tenant, namespace, version, token, environment) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &values,
    )
    .await?;
    on.put("DELETE FROM changes WHERE seq <= $1", &[(number - KEPT).into()]).await?;
    Ok(())
}

/// Reads what was committed after a change.
#[derive(Debug)]
pub(super) struct Since(pub(super) i64);

/// What was committed, and up to which change.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) last: i64,
    pub(super) notices: Vec<Notice>,
}

#[async_trait]
impl Work for Since {
    type Output = Changes;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<Changes> {
        let counter = on.first("SELECT seq FROM change_counter WHERE one = 1", &[]).await?;
        let last = counter.map(|mut row| row.int()).transpose()?.unwrap_or_default();
        if last == self.0 {
            return Ok(Changes { last, notices: Vec::new() });
        }
        // Behind us: the database was put back to an earlier state, so nothing that was told can be relied upon.
        let count = last - self.0;
        if !(0..=AT_ONCE).contains(&count) {
            return Ok(Changes { last, notices: vec![Notice::Everything] });
        }
        let rows = on
            .query(
                "SELECT kind, tenant, namespace, version, token, environment FROM changes \
                 WHERE seq > $1 AND seq <= $2 ORDER BY seq",
                &[self.0.into(), last.into()],
            )
            .await?;
        let whole = i64::try_from(rows.len()) == Ok(count);
        let notices = rows.into_iter().map(notice).collect::<Result<Vec<_>>>()?;
        Ok(Changes { last, notices: if whole { notices } else { vec![Notice::Everything] } })
    }
}

fn notice(mut row: Row) -> Result<Notice> {
    Ok(match row.text()?.as_str() {
        "manifest" => Notice::Manifest { tenant: row.text()?, namespace: row.text()?, version: row.count()? },
        "gate" => Notice::Gate { org: row.text()? },
        // The columns between are those of the other kinds.
        "settings" => match &row.rest()[..] {
            [Value::Text(tenant), Value::Text(namespace), _, _, Value::Text(environment)] => {
                Notice::Settings {
                    tenant: tenant.clone(),
                    namespace: namespace.clone(),
                    environment: environment.clone(),
                }
            }
            _ => Notice::Everything,
        },
        "token_revoked" => match &row.rest()[..] {
            [_, _, _, Value::Text(id), _] => Notice::TokenRevoked { id: id.clone() },
            _ => Notice::Everything,
        },
        // Of a newer program.
        _ => Notice::Everything,
    })
}

/// Wakes the follower of a log.
#[derive(Debug, Default)]
pub(super) struct Signal {
    wake: Notify,
    doubt: AtomicBool,
}

impl Signal {
    /// There is something to read.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// A connection was lost: something may have been missed.
    pub(super) fn doubt(&self) {
        self.doubt.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Tells the changes of a log to whoever listens.
#[derive(Debug)]
pub(super) struct Follower<E> {
    pub(super) engine: Arc<E>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) signal: Arc<Signal>,
    pub(super) notices: broadcast::Sender<Notice>,
    /// How long to wait at most before looking without being told to.
    pub(super) every: Duration,
}

impl<E: Engine> Follower<E> {
    /// Follows from a change on, for ever.
    pub(super) async fn run(self, mut last: i64) {
        let mut backoff = Backoff::new(Duration::from_millis(100), self.every);
        loop {
            let pause = backoff.pause().unwrap_or(self.every);
            tokio::select! {
                () = self.signal.wake.notified() => {}
                () = self.clock.sleep_until(self.clock.now() + pause) => {}
            }
            match self.engine.run(Mode::Probe, Arc::new(Since(last))).await {
                Ok(changes) => {
                    backoff.reset();
                    last = changes.last;
                    let missed = self.signal.doubt.swap(false, Ordering::AcqRel);
                    for notice in missed.then_some(Notice::Everything).into_iter().chain(changes.notices) {
                        // Without a receiver there is nobody to tell.
                        let _ = self.notices.send(notice);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "changes cannot be followed for now");
                    self.signal.doubt.store(true, Ordering::Release);
                    backoff.fail();
                }
            }
        }
    }
}
