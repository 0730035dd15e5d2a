//! Entries in Redis, or in any server that speaks its protocol.
//!
//! Choose it where several processes are to share last known good, or where hosts come and go and their disks with
//! them: a process that starts while the source is away serves what another one loaded. Each entry is one string under
//! `prefix` and key, written by one `SET`, so that a reader sees the old entry or the new one. It carries a SHA-256
//! digest, and what does not match it is reported as corrupt. A connection that broke is made anew, once a call.
//!
//! All work happens on one thread of the cache's own, one call after the other: it needs no async runtime, and stalls
//! none. Every call ends within `connect_timeout_ms` and `timeout_ms` together, waiting for others included.
//!
//! How long an entry lives beyond the server's own restart is the server's affair: without persistence (`save`,
//! `appendonly`) it is gone then, and with an eviction policy it may go earlier. `redis://` sends password and content
//! in the clear; across hosts use `rediss://` (feature `tls`, on by default). It speaks to one server: no cluster, no
//! sentinel, and no client certificates.

mod config;
mod connection;
mod deadline;
mod failure;
mod stream;
mod target;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "without_tls.rs"]
mod tls;
mod worker;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use leverframe::{
    Error, ErrorKind, Result, async_trait,
    backends::{cache_entry, clock_system::SystemClock},
    register_cache,
    registry::{BuildContext, Plugin},
    traits::{CacheEntry, CacheKey, CacheStore, Clock},
};
use redis::{Cmd, Value, cmd};

pub use self::config::RedisConfig;
use self::{connection::Session, deadline::Deadline, target::Target, worker::Worker};

/// The name under which the cache is registered.
pub const NAME: &str = "redis";

/// A cache in Redis; see the [crate](self).
///
/// # Examples
/// ```
/// use cache_redis::{RedisCache, RedisConfig};
/// use leverframe::{ErrorKind, Secret, live::block_on, traits::{CacheKey, CacheStore}};
/// let mut config = RedisConfig::default();
/// config.url = Secret::new("redis+unix:///nowhere/redis.sock");
/// let cache = RedisCache::open(config)?; // No connection yet.
/// let error = block_on(cache.get(&CacheKey::new("flags.shop")?)).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// # Ok::<(), leverframe::Error>(())
/// ```
pub struct RedisCache {
    worker: Worker,
    clock: Arc<dyn Clock>,
    prefix: String,
    address: String,
    ttl: Option<u64>,
    max_entry_bytes: u64,
    connect_timeout: Duration,
    timeout: Duration,
    closed: AtomicBool,
}

impl RedisCache {
    /// Opens the cache. The server is first spoken to when an entry is asked for: one that is away keeps no process
    /// from starting.
    ///
    /// # Errors
    /// `Config` for a URL that is missing or cannot be used, and for a `ca_file` that cannot be read.
    pub fn open(config: RedisConfig) -> Result<Self> {
        Self::open_with_clock(config, Arc::new(SystemClock::new()))
    }

    /// Opens the cache with another clock than the system's.
    ///
    /// # Errors
    /// As [`RedisCache::open`].
    pub fn open_with_clock(config: RedisConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        let target = Target::of(&config)?;
        if config.ttl_seconds > LONGEST_TTL {
            return Err(Error::new(ErrorKind::Config, "open the redis cache")
                .with("ttl_seconds", config.ttl_seconds)
                .with("limit", LONGEST_TTL)
                .hint("set `cache.redis.ttl_seconds` to 0 to keep entries for ever"));
        }
        Ok(Self {
            address: target.address(),
            worker: Worker::new(target),
            clock,
            prefix: config.prefix,
            ttl: Some(config.ttl_seconds).filter(|s| *s > 0),
            max_entry_bytes: config.max_entry_bytes,
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            timeout: Duration::from_millis(config.timeout_ms),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    fn command(&self, name: &str, key: &CacheKey) -> Cmd {
        let mut command = cmd(name);
        command.arg(format!("{}{key}", self.prefix));
        command
    }

    /// Has the worker send a command. Its sockets keep the deadline; what no socket bounds, such as the resolution of
    /// a name, is left behind when it passes.
    async fn call(&self, operation: &'static str, key: &CacheKey, command: Cmd) -> Result<Value> {
        let deadline = self.clock.now() + self.connect_timeout + self.timeout;
        let limits = Limits {
            whole: Deadline::new(&self.clock, deadline),
            connect: self.connect_timeout,
            exchange: self.timeout,
            answer_bytes: self.max_entry_bytes.saturating_add(cache_entry::OVERHEAD),
        };
        let reply = self.worker.run(move |session: &mut Session| session.call(&command, &limits))?;
        match worker::by(reply, self.clock.sleep_until(deadline)).await {
            Ok(answer) => Ok(answer),
            Err(_) if self.closed.load(Ordering::Acquire) => Err(closed()),
            Err(failure) => Err(failure.into_error(operation, &self.address, key)),
        }
    }
}

#[async_trait]
impl CacheStore for RedisCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<CacheEntry>> {
        const OPERATION: &str = "read a cache entry";
        self.check_open()?;
        let at = |error: Error| error.with("server", &self.address).with("key", key);
        match self.call(OPERATION, key, self.command("GET", key)).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => cache_entry::decode(&bytes).map(Some).map_err(at),
            _ => Err(failure::Failure::unexpected().into_error(OPERATION, &self.address, key)),
        }
    }

    async fn put(&self, key: &CacheKey, entry: CacheEntry) -> Result<()> {
        const OPERATION: &str = "write a cache entry";
        self.check_open()?;
        if entry.content().len() as u64 > self.max_entry_bytes {
            return Err(Error::new(ErrorKind::LimitExceeded, OPERATION)
                .with("key", key)
                .with("limit", self.max_entry_bytes)
                .hint("raise `cache.redis.max_entry_bytes`"));
        }
        let mut command = self.command("SET", key);
        command.arg(cache_entry::encode(&entry)?);
        if let Some(seconds) = self.ttl {
            command.arg("EX").arg(seconds);
        }
        match self.call(OPERATION, key, command).await? {
            Value::Okay => Ok(()),
            _ => Err(failure::Failure::unexpected().into_error(OPERATION, &self.address, key)),
        }
    }

    async fn remove(&self, key: &CacheKey) -> Result<()> {
        const OPERATION: &str = "remove a cache entry";
        self.check_open()?;
        match self.call(OPERATION, key, self.command("DEL", key)).await? {
            Value::Int(_) => Ok(()),
            _ => Err(failure::Failure::unexpected().into_error(OPERATION, &self.address, key)),
        }
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.worker.stop();
        Ok(())
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache")
            .field("server", &self.address)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// What one call may take.
#[derive(Debug)]
struct Limits {
    whole: Deadline,
    connect: Duration,
    exchange: Duration,
    answer_bytes: u64,
}

/// Ten years; the server refuses times that overflow its milliseconds.
const LONGEST_TTL: u64 = 10 * 366 * 24 * 3600;

fn closed() -> Error {
    Error::new(ErrorKind::Cancelled, "use a closed cache").with("cache", NAME)
}

fn build(context: &BuildContext<'_>) -> Result<Arc<dyn CacheStore>> {
    Ok(Arc::new(RedisCache::open_with_clock(context.settings()?, Arc::clone(context.clock()))?))
}

/// How the cache is registered.
pub const PLUGIN: Plugin<dyn CacheStore> = Plugin::new(NAME, env!("CARGO_PKG_NAME"), build)
    .with_summary("Entries in Redis, shared by several processes")
    .with_example(include_str!("example.toml"))
    .with_fields(RedisConfig::FIELDS);
register_cache!(PLUGIN);
