//! A canary in every secret place, looked for everywhere else.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use leverframe::{
    HttpBackend, NexusError, Secret,
    backends::cache_file::{FileCache, FileCacheConfig},
    live::metrics_text,
    settings::{NexusClientBuilder, WriteOptions},
    sse::StreamState,
};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    memory::Masked,
    stage::{Fault, KEY, Stage, config, eventually, file, secret},
};

/// In every secret value of these tests, and in no other text.
const CANARY: &str = "canary-d41d8cd9";

/// Has every line of the process, at every level, written where the parent finds it.
pub(crate) fn lines_go_to_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
    lines();
}

static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// Every line of the process, at every level.
fn lines() -> &'static Mutex<String> {
    static LINES: OnceLock<Mutex<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        tracing::subscriber::set_global_default(Everything).unwrap();
        Mutex::default()
    })
}

struct Everything;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Line {
    fn end(mut self) {
        self.0.push('\n');
        if TO_STDERR.load(Ordering::Relaxed) {
            return std::io::stderr().write_all(self.0.as_bytes()).unwrap();
        }
        let mut lines = lines().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.push_str(&self.0);
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(attributes.metadata().name().to_owned());
        attributes.record(&mut line);
        line.end();
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        line.end();
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        line.end();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Collects what a person or a log could be shown.
#[derive(Default)]
pub(crate) struct Shown(pub(crate) String);

impl Shown {
    pub(crate) fn add(&mut self, shown: impl std::fmt::Debug) {
        let _ = writeln!(self.0, "{shown:?}\n{shown:#?}");
    }

    pub(crate) fn add_error(&mut self, error: &NexusError) {
        self.add(error);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            let _ = writeln!(self.0, "{error}");
            cause = error.source();
        }
        let _ = writeln!(self.0, "{}", error.hint().unwrap_or_default());
    }
}

/// Reads every file below a folder.
pub(crate) fn contents(dir: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for path in fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()) {
        if path.is_dir() {
            contents(&path, into);
        } else if path.is_file() {
            into.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}

fn canaried(stage: &Stage, dir: &Path, backend: HttpBackend) -> NexusClientBuilder {
    stage.publish(|document| {
        document.configs = json!({"url": config(format!("postgres://u:{CANARY}@h")), "db.port": config(CANARY)});
        document.secrets = json!({
            "token": secret(CANARY, 1), "escaped": secret(&format!("\n\"{CANARY}\""), 1), "cert": file(CANARY, 1),
        });
    });
    let mut settings = FileCacheConfig::default();
    settings.dir = dir.join("cache");
    stage
        .builder()
        .cache(
            Arc::new(FileCache::open(settings).unwrap()),
            Secret::new(format!("{CANARY} long enough to be a key")),
        )
        .files_dir(dir)
        .http_backend(backend)
}

/// Does everything that there is to do, well and badly.
fn everything(backend: HttpBackend) {
    lines();
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    let builder = canaried(&stage, dir.path(), backend);
    let mut shown = Shown::default();
    shown.add(&builder);
    let client = builder.stream(true).build().unwrap();
    // The look that follows a connection must not come in between what fails on purpose.
    eventually("the stream is steady and its look over", || {
        let status = client.status();
        status.refreshes >= 1 && status.stream.is_some_and(|stream| stream.state == StreamState::Steady)
    });
    let path = client.get_secret_file_path("cert").unwrap();

    // It is where it was asked for.
    assert_eq!(client.get_secret("token").unwrap().expose(), CANARY);
    assert_eq!(fs::read_to_string(&path).unwrap(), CANARY);
    client.set_secret("token", &format!("{CANARY}-2")).unwrap();
    client.set_secret_file("blob", CANARY.as_bytes(), &WriteOptions::new()).unwrap();
    let url = client.bind::<String>("url").unwrap();
    let mut errors = vec![
        client.bind::<u16>("db.port").unwrap_err(),
        client.get_config_as::<bool>("url").unwrap_err(),
        client.get_secret("none").unwrap_err(),
    ];
    let answers = [
        format!("{{\"synced_at\":\"{CANARY}\",\"flags\":\"{CANARY}\"}}"),
        format!(
            r#"{{"synced_at":"t","secrets":{{"k":{{"value":"{CANARY}","version":"{CANARY}","source":"s"}}}}}}"#
        ),
        format!(
            r#"{{"synced_at":"t","secrets":{{"k":{{"value":"{CANARY}\ud800","version":1,"source":"s"}}}}}}"#
        ),
        CANARY.to_owned(),
    ];
    for body in answers {
        stage.fail("/v1/sync", Fault::body(body));
        errors.push(client.sync().unwrap_err());
    }
    for status in [301, 400, 401, 402, 403, 404, 409, 418, 429, 500] {
        let body =
            format!("{{\"error\":\"{CANARY}\",\"reason\":\"<{CANARY}>\",\"expires_at\":\"<{CANARY}>\"}}");
        let headers = format!("Location: https://u:{CANARY}@127.0.0.1:9/?{CANARY}\r\n");
        stage.fail("/v1/secrets", Fault::Answer(status, headers, body.into_bytes()));
        errors.push(client.set_secret("token", CANARY).unwrap_err());
    }
    stage.fail("/v1/sync", Fault::Reset);
    errors.push(client.sync().unwrap_err());
    errors.iter().for_each(|error| shown.add_error(error));
    shown.add(&client);
    shown.add(client.status());
    shown.add(client.snapshot());
    shown.add(client.get_secret("token").unwrap());
    shown.add(&url);
    shown.0.push_str(&metrics_text([("settings", &client.status())]));
    let mut files = Vec::new();
    contents(dir.path(), &mut files);
    files.retain(|(file, _)| !file.starts_with(path.parent().unwrap()));
    let kept = files.into_iter().flat_map(|(_, content)| content).collect::<Vec<u8>>();
    client.close();

    let logged = lines().lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    assert!(logged.contains("settings") && !kept.is_empty(), "nothing was looked at");
    for (place, text) in
        [("a log line", logged.as_bytes()), ("what is shown", shown.0.as_bytes()), ("the cache", &kept)]
    {
        for canary in [CANARY, KEY] {
            let at = text.windows(canary.len()).position(|part| part == canary.as_bytes());
            let near = at.map(|at| String::from_utf8_lossy(&text[at.saturating_sub(200)..at]).into_owned());
            assert_eq!(near, None, "{canary} is in {place}, behind this");
        }
    }
}

#[test]
fn no_secret_shows_anywhere_with_requests_in_process() {
    everything(HttpBackend::InProcess);
}

#[test]
fn no_secret_shows_anywhere_with_the_curl_program() {
    everything(HttpBackend::Curl);
}

#[test]
fn no_secret_shows_in_the_list_of_processes() {
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    let client = canaried(&stage, dir.path(), HttpBackend::Curl).build().unwrap();
    stage.fail("/v1/secrets", Fault::Silence);
    let writing = thread::spawn({
        let client = client.clone();
        move || client.set_secret("token", CANARY)
    });
    stage.wait_for("/v1/secrets", 1);

    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        // Processes end while they are looked at.
        let Ok(line) = fs::read(process.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        seen += usize::from(line.starts_with("curl"));
        assert!(!line.contains(CANARY) && !line.contains(KEY), "{line}");
    }

    assert!(seen > 0, "no curl was running");
    stage.end_silence();
    writing.join().unwrap().unwrap();
    eventually("it is written", || client.get_secret("token").unwrap().expose() == CANARY);
}

/// Gives one answer, from memory that is wiped, as a transport of one's own can.
#[derive(Debug)]
struct Careful(bytes::Bytes);

#[leverframe::async_trait]
impl leverframe::traits::Transport for Careful {
    fn name(&self) -> &'static str {
        "careful"
    }

    async fn send(&self, _: leverframe::traits::Request) -> leverframe::Result<leverframe::traits::Response> {
        let body = leverframe::traits::Body::from_bytes(self.0.clone());
        Ok(leverframe::traits::Response::new(http::StatusCode::OK, http::HeaderMap::new(), body))
    }

    async fn close(&self) -> leverframe::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_copy_of_a_secret_stays_in_memory_once_the_client_is_gone() {
    let (plain, escaped, dir) = (Masked::new(), Masked::new(), tempfile::tempdir().unwrap());
    let mut body = zeroize::Zeroizing::new(Vec::with_capacity(4_096));
    body.extend_from_slice(
        br#"{"synced_at":"t","key_type":"sk","secrets":{"a":{"version":1,"source":"s","value":""#,
    );
    plain.put(&mut body);
    body.extend_from_slice(br#""},"b":{"version":1,"type":"file","source":"s","value":"\u000a"#);
    escaped.put(&mut body);
    body.extend_from_slice(br#""}}}"#);
    let mut settings = FileCacheConfig::default();
    settings.dir = dir.path().join("cache");
    let client = leverframe::NexusClient::builder()
        .endpoint("https://settings.example.com")
        .api_key("wxs_1")
        .transport(Arc::new(Careful(bytes::Bytes::from_owner(body))))
        .cache(
            Arc::new(FileCache::open(settings).unwrap()),
            Secret::new("long enough to be a key of a cache"),
        )
        .files_dir(dir.path())
        .build()
        .unwrap();
    client.sync().unwrap();
    assert_eq!(client.get_secret("a").unwrap().expose().len(), 32);
    assert!(plain.copies() > 0 && escaped.copies() > 0, "the search finds nothing at all");

    client.close();
    drop(client);

    eventually("every copy is wiped", || (plain.copies(), escaped.copies()) == (0, 0));
}
