//! Hears of what other servers have committed.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    time::Duration,
};

use deadpool_postgres::tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use leverframe::{Backoff, Error, ErrorKind, Retry, traits::Clock};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    address::{Address, Trust},
    failure::failure,
};
use crate::store::changes::Signal;

/// Listens for ever: connects again when the connection breaks, and then says that something may have been missed.
pub(super) async fn listen(address: Address, clock: Arc<dyn Clock>, signal: Arc<Signal>) {
    let mut listening = Listening {
        backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        interrupted: false,
        signal: &signal,
    };
    loop {
        let lost = match &address.trust {
            Trust::Plain(tls) => match address.config.connect(*tls).await {
                Ok((client, connection)) => listening.hear(&client, connection).await,
                Err(error) => failure("connect to the database", &error),
            },
            Trust::Verified(tls) => match address.config.connect(tls.clone()).await {
                Ok((client, connection)) => listening.hear(&client, connection).await,
                Err(error) => failure("connect to the database", &error),
            },
        };
        // Changes are noticed all the same, some seconds later.
        tracing::warn!(error = %lost.chain(), "notifications of changes are not heard for now");
        listening.interrupted = true;
        listening.backoff.fail();
        clock.sleep_until(clock.now() + listening.backoff.pause().unwrap_or_default()).await;
    }
}

struct Listening<'s> {
    backoff: Backoff,
    /// Whether a connection was lost before this one.
    interrupted: bool,
    signal: &'s Signal,
}

impl Listening<'_> {
    /// Passes on what is heard, until the connection ends; returns why it did.
    async fn hear<T>(&mut self, client: &Client, mut connection: Connection<Socket, T>) -> Error
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let signal = self.signal;
        let drive = async {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(_))) => signal.wake(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return failure("listen for changes", &error),
                    None => {
                        return Error::new(ErrorKind::Unavailable, "listen for changes").retry(Retry::Now);
                    }
                }
            }
        };
        let ask = async {
            if let Err(error) = client.batch_execute("LISTEN leverframe_changes").await {
                return failure("listen for changes", &error);
            }
            // Only now: what is committed from here on is heard.
            if self.interrupted {
                signal.doubt()
            } else {
                signal.wake()
            }
            self.backoff.reset();
            pending().await
        };
        tokio::select! {
            lost = drive => lost,
            lost = ask => lost,
        }
    }
}
