//! A way to PostgreSQL that can lose an answer.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use leverframe::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

use crate::postgres::Postgres;

/// Passes on everything between clients and a server, but for answers that are to be lost.
pub(crate) struct Proxy {
    folder: tempfile::TempDir,
    server: PathBuf,
    orders: Arc<Orders>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Orders {
    to_lose: AtomicU32,
    lost: AtomicU32,
}

impl Proxy {
    pub(crate) async fn before(server: &Postgres) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let (orders, socket) = (Arc::new(Orders::default()), server.socket());
        let accepting = tokio::spawn({
            let (orders, socket) = (Arc::clone(&orders), socket.clone());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = UnixStream::connect(&socket).await.unwrap();
                    tokio::spawn(pass_on(client, server, Arc::clone(&orders)));
                }
            }
        });
        Self { folder, server: socket, orders, accepting }
    }

    /// Returns the URL of a database by this way.
    pub(crate) fn url(&self, direct: &Secret) -> Secret {
        let escaped = |path: &std::path::Path| path.display().to_string().replace('/', "%2F");
        let (from, to) = (escaped(self.server.parent().unwrap()), escaped(self.folder.path()));
        Secret::new(direct.expose().replace(&from, &to))
    }

    /// The next commit reaches the server, and its answer nobody: the connection ends instead.
    pub(crate) fn lose_the_next_answer_to_a_commit(&self) {
        self.orders.to_lose.store(1, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub(crate) fn lost(&self) -> u32 {
        self.orders.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(mut client: UnixStream, mut server: UnixStream, orders: Arc<Orders>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut losing = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                // To its end: what a transaction begins with says READ COMMITTED.
                let commits = asked[..length].windows(7).any(|part| part == b"COMMIT\0");
                losing |= commits && orders.to_lose.swap(0, Ordering::SeqCst) == 1;
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if losing {
                    orders.lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}
