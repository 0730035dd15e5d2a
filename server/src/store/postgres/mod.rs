//! Keeps everything in a PostgreSQL database that any number of servers share.
//!
//! What one server commits reaches the others by LISTEN/NOTIFY, and by a look at the log of changes every five seconds
//! for when a notification was lost. A connection that broke is replaced; work that surely was not committed, or that
//! recognises what it has written, is tried again for ten seconds.

mod address;
mod failure;
mod listener;
mod session;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime,
    tokio_postgres::IsolationLevel,
};
use leverframe::{Backoff, Error, Result, Retry, Secret, traits::Clock};

use self::{
    address::{Address, Trust},
    failure::{Failed, failure, pool_failure},
    session::On,
};
use super::{
    changes::Signal,
    engine::{Engine, Mode, Work},
    migration::Migration,
    records::{Records, Task},
};

/// The store in a PostgreSQL database.
pub type PostgresStore = Records<Postgres>;

/// How many connections a server has at most, besides the one that listens: sixteen keep a database busy, and leave
/// room for several servers in the hundred that it accepts by default.
const CONNECTIONS: usize = 16;
/// How long work is tried again: a database that restarts is back by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look for changes whose notification was lost.
const LOOK: Duration = Duration::from_secs(5);
/// What a connection begins with. Whatever the database's default is, what was committed survives its crash; and
/// nothing waits or runs for ever.
const SETTINGS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '60s'; \
     SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

const MIGRATIONS: [Migration; 4] = [
    Migration { number: 1, name: "records", script: include_str!("migrations/0001_records.sql") },
    Migration { number: 2, name: "changes", script: include_str!("migrations/0002_changes.sql") },
    Migration { number: 3, name: "gate", script: include_str!("migrations/0003_gate.sql") },
    Migration { number: 4, name: "settings", script: include_str!("migrations/0004_settings.sql") },
];

impl PostgresStore {
    /// Connects to the database of a URL (`postgres://user:password@host/database?sslmode=verify-full`) and migrates.
    ///
    /// # Errors
    /// `Config` for a URL that cannot be used; `Unavailable` if the database is not reached in ten seconds;
    /// `Unauthenticated` and `PermissionDenied` for what it refuses; `Unsupported` for one of a newer program.
    pub async fn connect(url: &Secret, clock: Arc<dyn Clock>) -> Result<Self> {
        let address = Address::parse(url)?;
        let engine = Postgres { pool: pool(&address)?, clock: Arc::clone(&clock) };
        let signal = Arc::new(Signal::default());
        let store = Self::start(engine, Arc::clone(&clock), Arc::clone(&signal), LOOK).await?;
        Ok(store.with(Task::spawn(listener::listen(address, clock, signal))))
    }
}

/// A PostgreSQL database.
pub struct Postgres {
    pool: Pool,
    clock: Arc<dyn Clock>,
}

fn pool(address: &Address) -> Result<Pool> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let config = address.config.clone();
    let manager = match &address.trust {
        Trust::Plain(tls) => Manager::from_config(config, *tls, recycling),
        Trust::Verified(tls) => Manager::from_config(config, tls.clone(), recycling),
    };
    let settle = Hook::async_fn(|client, _| {
        Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
    });
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .post_create(settle)
        .build();
    pool.map_err(|error| Error::new(leverframe::ErrorKind::Config, "set up connections").source(error))
}

#[async_trait]
impl Engine for Postgres {
    fn migrations(&self) -> &'static [Migration] {
        &MIGRATIONS
    }

    async fn run<W: Work>(&self, mode: Mode, work: Arc<W>) -> Result<W::Output> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let deadline = self.clock.now() + PATIENCE;
        let mut doubtful = false;
        loop {
            let failed = match self.attempt(mode, &*work, doubtful).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            doubtful |= failed.perhaps_committed;
            if mode == Mode::Probe || !failed.error.retry_state().may_retry() {
                return Err(failed.error);
            }
            backoff.fail();
            let again = self.clock.now() + backoff.pause().unwrap_or_default();
            if again > deadline {
                return Err(failed.error.retry(Retry::Exhausted));
            }
            tracing::debug!(error = %failed.error.chain(), "the database is asked again");
            self.clock.sleep_until(again).await;
        }
    }

    async fn close(&self) {
        self.pool.close();
    }
}

impl Postgres {
    async fn attempt<W: Work>(&self, mode: Mode, work: &W, again: bool) -> Result<W::Output, Failed> {
        let mut client = self.pool.get().await.map_err(|error| pool_failure(&error))?;
        let done = match mode {
            Mode::Probe | Mode::Read => work.run(&mut On(&client), again).await.map_err(Failed::from),
            Mode::Snapshot => transact(&mut client, IsolationLevel::RepeatableRead, true, work, again).await,
            Mode::Write => transact(&mut client, IsolationLevel::ReadCommitted, false, work, again).await,
        };
        if done.as_ref().is_err_and(|failed| failed.error.retry_state().may_retry()) {
            // Whatever is wrong with the connection, nobody else should meet it.
            drop(Client::take(client));
        }
        done
    }
}

async fn transact<W: Work>(
    client: &mut Client,
    isolation: IsolationLevel,
    read_only: bool,
    work: &W,
    again: bool,
) -> Result<W::Output, Failed> {
    let begun = client.build_transaction().isolation_level(isolation).read_only(read_only).start().await;
    let transaction = begun.map_err(|error| failure("begin a transaction", &error))?;
    match work.run(&mut On(&transaction), again).await {
        Ok(done) => {
            let committed = transaction.commit().await;
            committed.map(|()| done).map_err(|error| Failed {
                perhaps_committed: !read_only,
                error: failure("commit a transaction", &error),
            })
        }
        Err(error) => {
            // Awaited so that its locks are gone when the caller hears of it; a connection that broke has none.
            if let Err(lost) = transaction.rollback().await {
                tracing::debug!(error = %failure("roll back", &lost).chain(), "a transaction ended with its connection");
            }
            Err(error.into())
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}
