//! The thread that runs the program for one request.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{ChildStderr, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    Settings,
    child::Running,
    scratch::Scratch,
    script::{Files, Script, arguments, is_text},
};
use crate::{
    Error, ErrorKind, Result, Retry,
    backends::{
        bridge::{Notice, bridge},
        clock_system::SystemClock,
        http_client::{
            exchange::{CAPACITY, Event, Reporter, Reports},
            failure::failed,
            head::HeadParser,
            hop::Hop,
        },
    },
    traits::{Clock, Tick, redacted},
};

/// Starts a thread that runs the program; dropping what is returned ends both.
pub(super) fn start(settings: &Arc<Settings>, hop: &Hop, left: Duration) -> Result<Reports> {
    let deadline = SystemClock::new().now() + left;
    let running = Arc::new(Running::default());
    let watched = Arc::clone(&running);
    let (reporter, reports) = bridge(CAPACITY, move |notice| {
        if notice == Notice::Gone {
            watched.end();
        }
    });
    let talk = Talk { settings: Arc::clone(settings), hop: hop.clone(), deadline, running, reporter };
    thread::Builder::new()
        .name("leverframe-curl".to_owned())
        .spawn(move || talk.run())
        .map_err(|e| Error::from_io("start a thread for the request", e).with("uri", redacted(&hop.uri)))?;
    Ok(reports)
}

struct Talk {
    settings: Arc<Settings>,
    hop: Hop,
    deadline: Tick,
    running: Arc<Running>,
    reporter: Reporter,
}

impl Talk {
    fn run(self) {
        let report = self.talk().map(|()| Event::End);
        // Where nobody listens any more, nobody needs to know.
        let _ = self.reporter.push(report);
    }

    fn talk(&self) -> Result<()> {
        let (script, _scratch) = self.prepare()?;
        let mut child = self.command().spawn().map_err(|e| self.not_started(e))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        self.running.adopt(child);
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            self.running.end();
            return Err(self.error(ErrorKind::Io, "talk to curl", "it has no pipes"));
        };
        let (seen, heads) = mpsc::channel();
        let listener = thread::Builder::new().name("leverframe-curl-heads".to_owned()).spawn({
            let (reporter, running) = (self.reporter.clone(), Arc::clone(&self.running));
            move || listen(stderr, &reporter, &seen, &running)
        });
        let Ok(listener) = listener else {
            self.running.end();
            // It was just ended, and nothing else can be done about it.
            let _ = self.running.reap();
            return Err(self.error(ErrorKind::Io, "send the request", "no thread for curl's headers"));
        };
        // A program that does not read ends with an exit code that says why.
        let _ = stdin.write_all(script.as_bytes());
        drop((stdin, script));
        let relayed = self.relay(stdout, &heads);
        if relayed.is_err() {
            self.running.end();
        }
        let said = listener.join().unwrap_or_default();
        let status = self.running.reap().map_err(|e| Error::from_io("wait for curl", e))?;
        let relayed = relayed?;
        match (status.code(), said) {
            (_, Said { too_large: true, .. }) => {
                Err(self.error(ErrorKind::LimitExceeded, "read the answer's head", "it is too large"))
            }
            (Some(0), Said { heads: 1.., bytes, .. }) if relayed || bytes == 0 => Ok(()),
            (Some(0), _) => Err(self
                .error(ErrorKind::Config, "read the answer", "curl wrote it to somewhere else")
                .hint("look for `output` and the like in `~/.curlrc`")),
            (Some(code), said) => Err(failed(
                code.unsigned_abs(),
                &self.hop,
                self.settings.config.proxy.expose(),
                said.words.as_deref(),
            )),
            (None, _) => Err(self
                .error(ErrorKind::Unavailable, "send the request", "curl was ended")
                .retry(Retry::Now)),
        }
    }

    /// Writes the options, and the files that they need.
    fn prepare(&self) -> Result<(Script, Option<Scratch>)> {
        let wrap = |e: io::Error| {
            Error::from_io("write a temporary file for curl", e)
                .with("uri", redacted(&self.hop.uri))
                .hint("check permissions and free space of the folder for temporary files")
        };
        let Settings { config, trust, .. } = &*self.settings;
        let tls = self.hop.uri.scheme_str() == Some("https") || config.proxy.expose().starts_with("https:");
        let roots = trust.roots.as_ref().filter(|_| tls);
        let (mut scratch, mut roots_file, mut body_file) = (None, None, None);
        // What may be a secret is on no disk if that can be avoided: a process that is killed removes nothing.
        let body = Some(&self.hop.body).filter(|body| !is_text(body));
        if roots.is_some() || body.is_some() {
            let made = Scratch::make().map_err(wrap)?;
            let put =
                |name: &str, content: &[u8]| -> Result<PathBuf> { made.put(name, content).map_err(wrap) };
            roots_file = roots.map(|roots| put("roots.pem", roots)).transpose()?;
            body_file = body.map(|body| put("body", body)).transpose()?;
            scratch = Some(made);
        }
        let left = self.deadline - SystemClock::new().now();
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let files = Files { roots: roots_file.as_deref(), body: body_file.as_deref() };
        let script = Script::write(&self.hop, config, trust, files, left_ms)?;
        Ok((script, scratch))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.settings.program);
        command.args(arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(home) = &self.settings.home {
            command.env("HOME", home).env_remove("CURL_HOME").env_remove("XDG_CONFIG_HOME");
        }
        command
    }

    /// Hands the body on until it ends or nobody wants it; returns whether there was any.
    fn relay(&self, mut stdout: ChildStdout, heads: &mpsc::Receiver<Seen>) -> Result<bool> {
        let mut buffer = Zeroizing::new(vec![0; 16 * 1024]);
        let mut begun = false;
        loop {
            match stdout.read(&mut buffer) {
                Ok(0) => return Ok(begun),
                Ok(read) => {
                    if !std::mem::replace(&mut begun, true) {
                        wait_for_the_last(heads);
                    }
                    let chunk = Bytes::copy_from_slice(&buffer[..read]);
                    self.reporter.send(Ok(Event::Chunk(chunk)), self.deadline).map_err(|_| {
                        self.error(ErrorKind::Timeout, "hand on the body", "it was not read in time")
                            .retry(Retry::Now)
                    })?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_io("read from curl", error)),
            }
        }
    }

    fn not_started(&self, error: io::Error) -> Error {
        let program = self.settings.program.display();
        let failed = match error.kind() {
            io::ErrorKind::NotFound => Error::new(ErrorKind::Config, "start the `curl` program")
                .hint("install curl and put it on the PATH, or choose another transport: `transport.use`"),
            io::ErrorKind::PermissionDenied => Error::new(ErrorKind::Config, "start the `curl` program")
                .hint("the program may not be executed; check its permissions and those of its folders"),
            _ => Error::new(ErrorKind::Io, "start the `curl` program").retry(Retry::Now),
        };
        failed.with("program", program).source(error)
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, reason: &'static str) -> Error {
        Error::new(kind, operation).with("uri", redacted(&self.hop.uri)).with("reason", reason)
    }
}

/// A head that was reported.
struct Seen {
    asks_for_log_in: bool,
}

/// Waits until the head of the body that has begun is reported.
///
/// The program writes it before the body, but to another pipe, so that it may be read later.
fn wait_for_the_last(heads: &mpsc::Receiver<Seen>) {
    let mut last = heads.recv();
    while matches!(last, Ok(Seen { asks_for_log_in: true })) {
        // Whether another follows cannot be known; it would have been written before this was called.
        match heads.recv_timeout(Duration::from_millis(200)) {
            Ok(next) => last = Ok(next),
            Err(_) => return,
        }
    }
}

/// What came on the standard error output besides headers.
#[derive(Debug, Default)]
struct Said {
    heads: usize,
    too_large: bool,
    /// How many bytes of a body the program has received.
    bytes: u64,
    /// The program's last message about itself.
    words: Option<String>,
}

/// Reads heads and messages until the program closes the output.
fn listen(stderr: ChildStderr, reporter: &Reporter, seen: &mpsc::Sender<Seen>, running: &Running) -> Said {
    let mut said = Said::default();
    let mut parser = HeadParser::default();
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            // An error ends the output as its end does; the exit code tells the rest.
            Ok(0) | Err(_) => return said,
            Ok(_) => {}
        }
        said.note(&line);
        match parser.line(&line) {
            Ok(Some(head)) => {
                said.heads += 1;
                let asks_for_log_in = head.asks_for_log_in();
                // Where nobody listens any more, the program is being ended.
                let _ = reporter.push(Ok(Event::Head(head)));
                let _ = seen.send(Seen { asks_for_log_in });
            }
            Ok(None) => {}
            Err(_) => {
                said.too_large = true;
                running.end();
            }
        }
    }
}

/// Longer than the longest header that a head may hold; what is longer counts as several lines.
const LONGEST_LINE: u64 = 300 * 1024;

impl Said {
    /// Keeps `curl: (7) Failed to connect` and `leverframe-bytes 5`.
    fn note(&mut self, line: &[u8]) {
        if let Some(rest) = line.strip_prefix(b"curl: (") {
            let end = rest.iter().position(|b| *b == b')').map_or(rest.len(), |end| end + 1);
            self.words = Some(String::from_utf8_lossy(rest[end..].trim_ascii()).into_owned());
        }
        if let Some(count) = line.strip_prefix(b"leverframe-bytes ") {
            let count = std::str::from_utf8(count.trim_ascii()).ok().and_then(|text| text.parse().ok());
            self.bytes = count.unwrap_or(0);
        }
    }
}
