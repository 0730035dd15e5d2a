//! Starting and stopping.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use leverframe::{Error, Result, traits::Tick};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    connection::Frontend,
    options::{DRAIN, ServeOptions},
    tls::Tls,
};
use crate::{
    app::App,
    routes,
    store::{self, Store},
};

/// The server, before it runs.
#[derive(Debug)]
#[non_exhaustive]
pub struct Server;

impl Server {
    /// Opens the store, brings it up to date, and listens: requests are answered when this returns.
    ///
    /// # Errors
    /// When the store cannot be opened, the certificate cannot be used, or the address cannot be listened at.
    pub async fn start(options: ServeOptions) -> Result<Running> {
        let tls = options.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let store = match &options.store {
            Some(store) => Arc::clone(store),
            None => store::open(&options.data, options.database.as_ref(), Arc::clone(&options.clock)).await?,
        };
        store.migrate().await?;
        let listener = TcpListener::bind(&options.listen).await.map_err(|error| {
            Error::from_io("listen", error).with("address", &options.listen).hint("is another server there?")
        })?;
        let address = listener.local_addr().map_err(|error| Error::from_io("listen", error))?;

        let app = App::with(
            Arc::clone(&store),
            Arc::clone(&options.clock),
            options.limits,
            options.metrics_token.clone(),
            options.keyring()?,
        );
        if let Some(federation) = options.federation()? {
            app.set_federation(federation);
        }
        app.hub().start();
        app.hub().prepare().await?;
        app.gate().start();
        let following = tokio::spawn(app.clone().follow(store.notices())).abort_handle();
        let frontend = Frontend::new(app.clone(), routes::router(app.clone()), tls.clone());
        let (ended, _) = watch::channel(None);
        let deadline = Arc::new(Mutex::new(None));
        let accepting = tokio::spawn(accept(Accepting {
            listener,
            frontend,
            app: app.clone(),
            room: Arc::new(Semaphore::new(options.max_connections.clamp(1, Semaphore::MAX_PERMITS))),
            deadline: Arc::clone(&deadline),
            ended: ended.clone(),
        }));
        tracing::info!(%address, tls = tls.is_some(), "listening");
        Ok(Running {
            address,
            app,
            store,
            tls,
            deadline,
            ended,
            tasks: [following, accepting.abort_handle()],
        })
    }
}

/// A server that runs. Dropping it ends it at once; [`stop`](Self::stop) lets requests end.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    app: App,
    store: Arc<dyn Store>,
    tls: Option<Arc<Tls>>,
    deadline: Arc<Mutex<Option<Tick>>>,
    ended: watch::Sender<Option<usize>>,
    tasks: [AbortHandle; 2],
}

impl Running {
    /// Returns where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address as a URL without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns the server's state.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Reads certificate and key again, for connections from now on. Does nothing without TLS.
    ///
    /// # Errors
    /// When they cannot be used; those at hand stay in use.
    pub fn reload_tls(&self) -> Result<()> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Stops: accepts nothing more, ends event streams at once, gives running requests so long (30 seconds by
    /// default), lets go of the store. Returns how many connections had to be cut.
    pub async fn stop(&self, within: Option<Duration>) -> usize {
        let by = self.app.clock().now() + within.unwrap_or(DRAIN);
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(by);
        self.app.drain();
        let cut = self.ended().await;
        // After the last request: until then pulses are counted.
        self.app.gate().close().await;
        self.store.close().await;
        tracing::info!(cut, "stopped");
        cut
    }

    /// Waits until the server has ended, because somebody called [`stop`](Self::stop).
    pub async fn wait(&self) {
        self.ended().await;
    }

    async fn ended(&self) -> usize {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as `self`.
        ended.wait_for(Option::is_some).await.map_or(0, |cut| cut.unwrap_or(0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.app.drain();
        self.app.gate().abort();
        // With the accepting task go the connections, which it owns.
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

struct Accepting {
    listener: TcpListener,
    frontend: Frontend,
    app: App,
    room: Arc<Semaphore>,
    deadline: Arc<Mutex<Option<Tick>>>,
    ended: watch::Sender<Option<usize>>,
}

/// How long a change that nobody waits for any more may take when the server stops.
const LAST: Duration = Duration::from_secs(5);

/// Pause after the system had no descriptor or memory for another connection.
const BREATHER: Duration = Duration::from_millis(100);

async fn accept(accepting: Accepting) {
    let Accepting { listener, frontend, app, room, deadline, ended } = accepting;
    let mut draining = app.draining();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = draining.begun() => break,
            Some(_) = connections.join_next() => {}
            (permit, accepted) = next(&listener, &room) => match accepted {
                Ok((stream, peer)) => {
                    let (frontend, app) = (frontend.clone(), app.clone());
                    connections.spawn(async move {
                        let _open = Open::new(&app);
                        frontend.serve(stream, peer).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    app.clock().sleep_until(app.clock().now() + BREATHER).await;
                }
            },
        }
    }
    // Whoever connects from now on is refused rather than kept waiting.
    drop(listener);
    let by = deadline.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_else(|| app.clock().now());
    let mut alarm = app.clock().sleep_until(by);
    let cut = loop {
        tokio::select! {
            joined = connections.join_next() => if joined.is_none() { break 0 },
            () = &mut alarm => break connections.len(),
        }
    };
    connections.shutdown().await;
    // What was under way for those that were cut, and for those that had gone away before.
    tokio::select! {
        () = app.unfinished().none() => {}
        () = app.clock().sleep_until(app.clock().now() + LAST) => {}
    }
    ended.send_replace(Some(cut));
}

async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (Option<tokio::sync::OwnedSemaphorePermit>, std::io::Result<(TcpStream, SocketAddr)>) {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    (permit, listener.accept().await)
}

/// Counts a connection while it lives.
struct Open(App);

impl Open {
    fn new(app: &App) -> Self {
        app.metrics().connections_accepted.add(1);
        app.metrics().connections_open.add(1);
        Self(app.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics().connections_open.add(-1);
    }
}
