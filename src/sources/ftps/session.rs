//! A connection to a file server, logged in.

use std::{fmt, future::poll_fn, io, pin::pin, sync::Arc, task::Poll};

use suppaftp::{
    Encoding, FtpError, FtpResult, Mode as DataMode, Status, Utf8Encoding,
    tokio::{AsyncRustlsStream, ImplAsyncFtpStream, TransferStream},
    types::FileType,
};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    config::Mode,
    failure::{Step, code},
    place::{Credentials, Place},
    tls::{Failure, Trust},
};
use crate::{
    Error, ErrorKind, Result,
    traits::{Clock, Tick},
};

/// What bounds a load in time.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) place: &'a Place,
    pub(super) deadline: Tick,
}

impl Bounds<'_> {
    /// The same, ended at `tick` if that is earlier.
    pub(super) fn until(self, tick: Tick) -> Self {
        Self { deadline: self.deadline.min(tick), ..self }
    }

    /// Waits for `work`, no longer than the deadline.
    pub(super) async fn within<T>(&self, step: Step, work: impl Future<Output = T>) -> Result<T> {
        let mut work = pin!(work);
        let mut due = self.clock.sleep_until(self.deadline);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => due.as_mut().poll(cx).map(|()| Err(step.timeout(self.place))),
        })
        .await
    }

    async fn step<T>(
        &self,
        step: Step,
        tls: &Failure,
        work: impl Future<Output = FtpResult<T>>,
    ) -> Result<T> {
        self.within(step, work).await?.map_err(|error| step.failed(error, tls, self.place))
    }
}

/// When the file was last written, in seconds since 1970, and how many bytes it has, as far as the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) modified: Option<i64>,
    pub(super) bytes: Option<u64>,
}

/// A control connection under TLS with the TLS sessions that its data connections resume.
pub(super) struct Session {
    ftp: ImplAsyncFtpStream<AsyncRustlsStream>,
    tls: Failure,
    /// Whether every command that was sent has had its whole answer.
    in_step: bool,
}

impl Session {
    /// Connects, begins TLS and logs in.
    pub(super) async fn open(bounds: Bounds<'_>, trust: &Trust, credentials: &Credentials) -> Result<Self> {
        let place = bounds.place;
        let connector = trust.connector()?;
        let tls = connector.failure();
        let address = (place.host.as_str(), place.port);
        let mut ftp = match place.mode {
            Mode::Explicit => {
                let stream = bounds.within(Step::Connect, TcpStream::connect(address)).await?;
                let stream = stream.map_err(|e| Step::Connect.broken(e, place))?;
                let greeted = ImplAsyncFtpStream::connect_with_stream(stream);
                let plain = bounds.step(Step::Greet, &tls, greeted).await?;
                bounds.step(Step::Secure, &tls, plain.into_secure(connector, &place.host)).await?
            }
            Mode::Implicit => {
                let connected = ImplAsyncFtpStream::connect_secure_implicit(address, connector, &place.host);
                let mut ftp = bounds.step(Step::Connect, &tls, connected).await?;
                // Implicit TLS covers the control connection only; without these the data would travel in the open.
                for command in ["PBSZ 0", "PROT P"] {
                    let protected = ftp.custom_command(command, &[Status::CommandOk]);
                    bounds.step(Step::Secure, &tls, protected).await?;
                }
                ftp
            }
        };
        ftp.set_encoding(LogIn(credentials.clone())).await;
        bounds.step(Step::LogIn, &tls, ftp.login(MASK, MASK)).await?;
        ftp.set_encoding(Utf8Encoding).await;
        bounds.step(Step::Prepare, &tls, ftp.transfer_type(FileType::Binary)).await?;
        let peer = ftp.get_ref().await.peer_addr().map_err(|e| Step::Connect.broken(e, place))?;
        if peer.is_ipv6() {
            // The other command can only name addresses of version 4.
            ftp.set_mode(DataMode::ExtendedPassive);
        } else {
            // The server's own idea of its address is wrong behind NAT, and could name somebody else's.
            ftp.set_passive_nat_workaround(true);
        }
        Ok(Self { ftp, tls, in_step: true })
    }

    /// Asks for the file's time and size; a server may know neither.
    pub(super) async fn stamp(&mut self, bounds: Bounds<'_>) -> Result<Stamp> {
        self.in_step = false;
        let path = &bounds.place.path;
        let modified = bounds.within(Step::Ask, self.ftp.mdtm(path)).await?;
        let modified = self.known(modified, bounds.place)?.map(|t| t.and_utc().timestamp());
        let bytes = bounds.within(Step::Ask, self.ftp.size(path)).await?;
        let bytes = self.known(bytes, bounds.place)?.map(|b| b as u64);
        self.in_step = true;
        Ok(Stamp { modified, bytes })
    }

    /// Reads the file.
    ///
    /// `bytes` is the size that the server told, `limit` the largest that is taken.
    pub(super) async fn retrieve(
        &mut self,
        bounds: Bounds<'_>,
        bytes: Option<u64>,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let place = bounds.place;
        self.in_step = false;
        let opened = bounds.step(Step::Open, &self.tls, self.ftp.retr_as_stream(&place.path)).await;
        // That there is no such file is a whole answer.
        self.in_step = opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let mut stream = opened?;
        let (content, end) = bounds.within(Step::Read, read_at_most(&mut stream, limit)).await?;
        if content.len() as u64 > limit {
            return Err(too_large(place, None, limit));
        }
        match end {
            Ok(()) => {}
            // Some servers end the connection without ending TLS. Whether that is the end of the file, only the size
            // can tell: the control connection brought it, where nobody could cut or forge it.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && bytes == Some(content.len() as u64) => {}
            Err(error) => return Err(Step::Read.broken(error, place)),
        }
        // A refused or aborted transfer looks like an end of the file until this reply is read.
        bounds.step(Step::Finish, &self.tls, stream.finish()).await?;
        self.in_step = true;
        Ok(content)
    }

    /// Whether the next answer that comes belongs to the next command.
    pub(super) const fn in_step(&self) -> bool {
        self.in_step
    }

    /// Says goodbye.
    pub(super) async fn quit(mut self, bounds: Bounds<'_>) -> Result<()> {
        bounds.step(Step::Finish, &self.tls, self.ftp.quit()).await
    }

    /// Returns what the server told; `None` where it knows no such command, will not say, or says it in a form of its
    /// own: then the transfer is what decides.
    fn known<T>(&self, answer: FtpResult<T>, place: &Place) -> Result<Option<T>> {
        match answer {
            Ok(told) => Ok(Some(told)),
            Err(FtpError::BadResponse) => Ok(None),
            // 530 is about the log-in, not about the command.
            Err(FtpError::UnexpectedResponse(r)) if code(&r) != 530 && matches!(code(&r), 202 | 500..600) => {
                Ok(None)
            }
            Err(error) => Err(Step::Ask.failed(error, &self.tls, place)),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("in_step", &self.in_step).finish_non_exhaustive()
    }
}

/// The error for a file over the limit; `bytes` where its size is known.
pub(super) fn too_large(place: &Place, bytes: Option<u64>, limit: u64) -> Error {
    let error = Step::Read.error(ErrorKind::LimitExceeded, place);
    let error = match bytes {
        Some(bytes) => error.with("bytes", bytes),
        None => error,
    };
    error
        .with("limit", limit)
        .hint("an archive of a namespace is at most 5,000,000 bytes; see `source.ftps.max_file_bytes`")
}

/// Reads to the end, or one byte more than `limit`; what came before an error is not lost.
async fn read_at_most(
    stream: &mut TransferStream<AsyncRustlsStream>,
    limit: u64,
) -> (Vec<u8>, io::Result<()>) {
    let mut content = Vec::new();
    let end = stream.take(limit.saturating_add(1)).read_to_end(&mut content).await;
    (content, end.map(drop))
}

/// What the FTP library is told to send for the user and for the password.
const MASK: &str = "***";

/// Puts the log-in into the commands on their way to the server.
///
/// The library writes each command to the log before it encodes it, passwords too. It never holds them this way.
#[derive(Debug)]
struct LogIn(Credentials);

impl Encoding for LogIn {
    fn decode(&self, bytes: &[u8]) -> String {
        Utf8Encoding.decode(bytes)
    }

    fn encode(&self, text: &str) -> io::Result<Vec<u8>> {
        let secret = match text.strip_suffix(MASK_LINE) {
            Some("USER ") => &self.0.user,
            Some("PASS ") => &self.0.pass,
            _ => return Utf8Encoding.encode(text),
        };
        Ok([&text.as_bytes()[..5], secret.expose().as_bytes(), b"\r\n"].concat())
    }
}

/// The end of a command that carries the mask.
const MASK_LINE: &str = "***\r\n";
