//! Canaries in every secret place of a whole process, looked for from outside: in all that it writes and shows, in its
//! memory when all is over, in the list of processes, and on the disk.

use std::{
    fs,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    thread,
    time::Duration,
};

use leverframe::{
    HttpBackend, Leverframe, NexusClient, Result, Secret, async_trait,
    backends::{
        cache_file::{FileCache, FileCacheConfig},
        clock_system::SystemClock,
    },
    config::Config,
    live::metrics_text,
    settings::{CredentialSource, WriteOptions},
    traits::{CacheStore, Clock},
};
use serde_json::json;

use super::{
    again::{Other, command, hear, is_other, say},
    leaks::{Shown, contents, lines_go_to_stderr},
    memory::{Around, Masked},
    stage::{Fault, Stage, config, file, secret},
};

/// What the other process is given on its standard input. Nothing of it is in arguments, variables or files.
#[derive(serde::Deserialize)]
struct Given {
    url: String,
    dir: PathBuf,
    key: Secret,
    token: Secret,
    written: Secret,
    cache_key: Secret,
    configured: Secret,
}

#[test]
fn canaries_are_nowhere_but_where_they_were_asked_for_with_requests_in_process() {
    const NAME: &str = "canary::canaries_are_nowhere_but_where_they_were_asked_for_with_requests_in_process";
    if is_other(NAME) {
        return everything(HttpBackend::InProcess);
    }
    from_outside(NAME, false);
}

#[test]
fn canaries_are_nowhere_but_where_they_were_asked_for_with_the_curl_program() {
    const NAME: &str = "canary::canaries_are_nowhere_but_where_they_were_asked_for_with_the_curl_program";
    if is_other(NAME) {
        return everything(HttpBackend::Curl);
    }
    from_outside(NAME, true);
}

/// Watches the other process.
fn from_outside(name: &str, all_is_wiped: bool) {
    let names = ["secret", "file", "key", "token", "session", "written", "cache_key", "configured", "junk"];
    let canaries = names.map(|name| (name, Masked::new()));
    let clear = |name: &str| canaries.iter().find(|(n, _)| *n == name).unwrap().1.clear();
    let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
    stage.accept([&clear("key"), &clear("configured")], &clear("session"));
    stage.publish(|document| {
        document.configs = json!({"url": config("postgres://h"), "port": config("text")});
        document.secrets = json!({
            "token": secret(&clear("secret"), 1),
            "escaped": secret(&format!("\n\"{}\"", &*clear("secret")), 1),
            "cert": file(&clear("file"), 1),
        });
    });
    arrange_faults(&stage, &clear("junk"));
    let errors = tempfile::tempfile().unwrap();
    let mut command = command(None, name);
    command
        .env("TMPDIR", dir.path())
        .env("RUST_BACKTRACE", "full")
        .stderr(Stdio::from(errors.try_clone().unwrap()));
    let mut other = Other::start(command);
    other.tell(
        &json!({
            "url": stage.url(), "dir": dir.path(), "key": &*clear("key"), "token": &*clear("token"),
            "written": &*clear("written"), "cache_key": &*clear("cache_key"),
            "configured": &*clear("configured"),
        })
        .to_string(),
    );
    loop {
        match other.hear().as_str() {
            "talk nonsense" => arrange_nonsense(&stage, &clear("junk")),
            "end the sessions" => stage.end_sessions(),
            "be away" => stage.fail_always("/v1/sync", Fault::Reset),
            "be back" => {
                stage.recover();
                stage.fail("/v1/secrets", Fault::Silence);
            }
            "at work" => break,
            said => panic!("{said}"),
        }
        other.tell("done");
    }
    // Everything is held now, and a write is under way.
    stage.wait_for("/v1/secrets", STATUSES.len() + 3);
    let found = |masked: &Masked| masked.copies_in(other.process.id()).map(|copies| copies.len());
    let readable = found(&canaries[0].1).is_ok();
    // Of the cache's key only what is derived of it is held.
    for (name, masked) in
        canaries.iter().filter(|(name, _)| !["junk", "cache_key", "configured"].contains(name))
    {
        assert!(!readable || found(masked).unwrap() > 0, "the search does not find `{name}`");
    }
    let family = family(other.process.id());
    assert!(all_is_wiped == (family.len() > 1), "{family:?}: a curl is among them, or is not");
    for process in family {
        for part in ["cmdline", "environ"] {
            // It may have ended meanwhile.
            let text = fs::read(format!("/proc/{process}/{part}")).unwrap_or_default();
            holds_none(&format!("/proc/{process}/{part}"), &text, &canaries);
        }
    }
    on_disk(dir.path(), &canaries, &clear("file"));
    stage.end_silence();
    other.tell("go on");
    assert_eq!(other.hear(), "all is over");

    // What is no secret of the client's: an answer that makes no sense, and what is read from variables and files into a
    // configuration, which is not wiped.
    let of_the_client = |name: &str| !["junk", "configured"].contains(&name);
    for (name, masked) in canaries.iter().filter(|(name, _)| readable && of_the_client(name)) {
        let ours = || {
            let copies = masked.copies_in(other.process.id()).unwrap().into_iter();
            copies.filter(|around| all_is_wiped || !is_of_the_wire(around)).collect::<Vec<_>>()
        };
        // The transport's own threads let go of a stream's request in a moment of theirs.
        let time = SystemClock::new();
        let end = time.now() + PATIENCE;
        let mut stay = ours();
        while !stay.is_empty() {
            assert!(time.now() < end, "copies of `{name}` stay in memory: {stay:?}");
            stay = ours();
        }
    }
    let left = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["cache"], "something stays behind");
    on_disk(dir.path(), &canaries, "");
    other.tell("the end");
    other.succeeds();
    let (mut errors, mut said) = (errors, String::new());
    errors.rewind().and_then(|()| errors.read_to_string(&mut said)).unwrap();
    for expected in ["settings", "panicked at", "Secret(***)", "SecretNotFound", "leverframe_feed_version"] {
        assert!(said.contains(expected), "`{expected}` was not looked at");
    }
    holds_none("the standard error output", said.as_bytes(), &canaries);
    holds_none("the standard output", &other.out, &canaries);
}

const PATIENCE: Duration = Duration::from_secs(20);
const STATUSES: [u16; 10] = [301, 400, 401, 402, 403, 404, 409, 418, 429, 500];
const EXCHANGE_FAULTS: usize = 3;
const NONSENSE: usize = 5;

/// What is no secret yet is not shown either: it may quote one.
fn arrange_faults(stage: &Stage, junk: &str) {
    let body = format!(
        r#"{{"error":"{junk}","reason":"<{junk}>","expires_at":"<{junk}>","session_token":"{junk}\n!"}}"#
    );
    let headers = format!("Location: https://u:{junk}@127.0.0.1:9/?{junk}\r\nRetry-After: {junk}\r\n");
    for status in STATUSES {
        stage.fail("/v1/secrets", Fault::Answer(status, headers.clone(), body.clone().into_bytes()));
    }
    for status in [401, 302, 200] {
        stage.fail("/v1/auth", Fault::Answer(status, headers.clone(), body.clone().into_bytes()));
    }
}

fn arrange_nonsense(stage: &Stage, junk: &str) {
    for body in [
        format!(r#"{{"synced_at":"{junk}","flags":"{junk}"}}"#),
        format!(
            r#"{{"synced_at":"t","secrets":{{"k":{{"value":"{junk}","version":"{junk}","source":"s"}}}}}}"#
        ),
        format!(
            r#"{{"synced_at":"t","secrets":{{"k":{{"value":"{junk}\ud800","version":1,"source":"s"}}}}}}"#
        ),
        junk.to_owned(),
    ] {
        stage.fail("/v1/sync", Fault::body(body));
    }
    stage.fail("/v1/sync", Fault::Cut);
}

#[track_caller]
fn holds_none(place: &str, text: &[u8], canaries: &[(&str, Masked)]) {
    for (name, masked) in canaries {
        let canary = masked.clear();
        let at = text.windows(canary.len()).position(|part| part == canary.as_bytes());
        let near = at.map(|at| String::from_utf8_lossy(&text[at.saturating_sub(200)..at]).into_owned());
        assert_eq!(near, None, "`{name}` is in {place}, behind this");
    }
}

/// Returns true for a copy as it is sent or received, a part of a head or of JSON: what the library of the transport in
/// process has in its buffers, gives back and does not wipe. What was read from it, or made for it, looks otherwise.
fn is_of_the_wire(around: &Around) -> bool {
    let before = [&b"-key: "[..], b"authorization: Bearer ", br#"value":""#, br#"\n\""#, br#"token":""#];
    // Behind the number of a session, where it is one.
    let after = around.after.strip_prefix(b"1").unwrap_or(&around.after);
    before.iter().any(|before| around.before.ends_with(before))
        || [&b"\r\n"[..], b"\",\"", b"\"}", b"\\\""].iter().any(|end| after.starts_with(end))
}

/// Looks into every file; one of them is the secret that was asked for as a file.
fn on_disk(dir: &Path, canaries: &[(&str, Masked)], asked_for: &str) {
    let mut files = Vec::new();
    contents(dir, &mut files);
    assert!(files.len() > 1, "nothing was kept");
    for (path, content) in files {
        if asked_for.is_empty() || content != asked_for.as_bytes() {
            holds_none(&path.display().to_string(), &content, canaries);
        }
    }
}

/// Returns a process and those that it began.
fn family(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    family
}

/// Gives the token that it was given.
#[derive(Debug)]
struct Vault(Secret);

#[async_trait]
impl CredentialSource for Vault {
    async fn token(&self) -> Result<Secret> {
        Ok(self.0.clone())
    }
}

/// The other process: does everything that there is to do, well and badly, and shows all that can be shown.
fn everything(backend: HttpBackend) {
    lines_go_to_stderr();
    let heard = hear();
    let given: Given = serde_json::from_str(heard.expose()).unwrap();
    drop(heard);
    let mut settings = FileCacheConfig::default();
    settings.dir = given.dir.join("cache");
    let cache = Arc::new(FileCache::open(settings).unwrap());
    let builder = || NexusClient::builder().endpoint(&given.url).files_dir(&given.dir).http_backend(backend);
    let with_key = || {
        let cache = Arc::clone(&cache) as Arc<dyn CacheStore>;
        builder().api_key(given.key.expose()).cache(cache, given.cache_key.clone()).stream(true)
    };
    let with_token = || builder().credential_source(Arc::new(Vault(given.token.clone())));
    let mut shown = Shown::default();
    shown.add((with_key(), with_token(), &given.key));
    // The first exchanges go wrong.
    for _ in 0..EXCHANGE_FAULTS {
        shown.add_error(&with_token().build().unwrap_err());
    }
    let clients = [with_key().build().unwrap(), with_token().build().unwrap()];
    for client in &clients {
        reads(client, &mut shown);
    }
    faults(&clients[0], &given, &mut shown);
    panics(&clients[0], &given);
    say("end the sessions");
    hear();
    clients[1].sync().unwrap();
    shown.0.push_str(&configured(&given, backend));
    say("be away");
    hear();
    shown.add_error(&clients[0].sync().unwrap_err());
    let kept = with_key().build().unwrap();
    shown.add((kept.status(), &kept, kept.snapshot()));
    say("be back");
    hear();

    let written = given.written.clone();
    drop((given, kept));
    let path = clients[0].get_secret_file_path("cert").unwrap();
    let writing = thread::spawn({
        let client = clients[0].clone();
        move || client.set_secret_with("token", &written, &WriteOptions::new())
    });
    say("at work");
    hear();
    writing.join().unwrap().unwrap();
    for client in clients {
        client.close();
    }
    assert!(!path.exists());
    io::stderr().write_all(shown.0.as_bytes()).unwrap();
    drop(shown);
    say("all is over");
    hear();
}

fn reads(client: &NexusClient, shown: &mut Shown) {
    let token = client.get_secret("token").unwrap();
    assert_eq!(token.expose().len(), 32);
    assert_eq!(fs::read(client.get_secret_file_path("cert").unwrap()).unwrap().len(), 32);
    let url = client.bind::<String>("url").unwrap();
    let watching = client.on_change(|change| tracing::info!(?change, "it changed"));
    shown.add((client, client.status(), client.snapshot(), &token, &url, &watching));
    for error in [
        client.bind::<u16>("url").unwrap_err(),
        client.get_config_as::<bool>("url").unwrap_err(),
        client.get_secret("none").unwrap_err(),
    ] {
        shown.add_error(&error);
    }
    shown.0.push_str(&metrics_text([("settings", &client.status())]));
}

/// Meets every status and every nonsense that the parent has arranged.
fn faults(client: &NexusClient, given: &Given, shown: &mut Shown) {
    for _ in STATUSES {
        shown.add_error(&client.set_secret_with("token", &given.written, &WriteOptions::new()).unwrap_err());
    }
    client.set_secret_file("blob", given.written.expose().as_bytes(), &WriteOptions::new()).unwrap();
    client.delete_secret("blob").unwrap();
    say("talk nonsense");
    hear();
    // The client's own thread may meet some of it.
    for error in (0..NONSENSE).filter_map(|_| client.sync().err()) {
        shown.add_error(&error);
    }
    client.sync().unwrap();
}

fn panics(client: &NexusClient, given: &Given) {
    let (client, key) = (client.clone(), given.key.clone());
    let panicked = thread::spawn(move || {
        let token = client.get_secret("token").unwrap();
        assert!(token.expose().is_empty(), "{token:?} {key:?} {client:?} {:?}", client.snapshot());
    });
    assert!(panicked.join().is_err());
}

/// What a configuration file's client shows.
fn configured(given: &Given, backend: HttpBackend) -> String {
    let config = Config::builder()
        .set("settings.endpoint", given.url.as_str())
        .set("transport.use", backend.name())
        .environment([
            ("LEVERFRAME_SETTINGS__API_KEY", given.configured.expose()),
            ("LEVERFRAME_SETTINGS__CACHE_KEY", given.configured.expose()),
            ("LEVERFRAME_CACHE__USE", "file"),
            ("LEVERFRAME_CACHE__FILE__DIR", given.dir.join("cache").to_str().unwrap()),
        ]);
    let frame = Leverframe::builder().config(config).build().unwrap();
    let shown = format!("{frame:?}\n{:?}\n{}", frame.explain(), frame.metrics());
    frame.close().unwrap();
    shown
}
