//! A client over a URI: each way to send requests, credentials, the kept archive, recovery, and the threads it is used on.
#![cfg(all(feature = "testing", feature = "async-tokio"))]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "support/real/mod.rs"]
mod real;
#[path = "support/shop.rs"]
mod shop;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use leverframe::{
    ErrorKind, EvalContext, ExdClient, ExdClientBuilder, ExdError, HttpBackend, LoadOptions, Namespace,
    UriAuth,
    backends::cache_file::{FileCache, FileCacheConfig},
    live::{Keep, Origin, StalePolicy},
    manifest::archive,
};
use real::{
    nginx::{Nginx, PASSWORD, USER},
    rude::{Manner, Rude},
};
use shop::{packed, served};

const BACKENDS: &[HttpBackend] = &[
    HttpBackend::Curl,
    #[cfg(feature = "http-in-process")]
    HttpBackend::InProcess,
    #[cfg(feature = "transport-curl")]
    HttpBackend::Libcurl,
];

fn builder(uri: &str) -> ExdClientBuilder {
    ExdClient::builder().namespace_uri(uri).environment("production")
}

async fn limit(client: &ExdClient) -> i64 {
    client.int_flag("limit", &EvalContext::builder().build(), -1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_its_uri_over_each_backend() {
    for backend in BACKENDS {
        let nginx = Nginx::start();
        nginx.put("shop.tar.gz", packed(1));
        let client = builder(&nginx.http("/basic/shop.tar.gz"))
            .uri_auth(UriAuth::Basic { user: USER.to_owned(), pass: PASSWORD.to_owned() })
            .http_backend(*backend)
            .poll_interval(Duration::from_millis(20))
            .build()
            .await
            .unwrap();
        assert_eq!(limit(&client).await, 1, "{backend:?}");

        nginx.put("shop.tar.gz", packed(2_222));
        let mut seen = 0;
        while client.flag_version() == 1 {
            seen = client.wait_for_refresh(seen).await;
        }
        assert_eq!((limit(&client).await, client.last_refresh_error()), (2_222, None), "{backend:?}");
        client.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let nginx = Nginx::start();
    nginx.put("shop.tar.gz", packed(1));
    for backend in BACKENDS {
        let auth = UriAuth::Basic { user: USER.to_owned(), pass: "s3cret".to_owned() };
        let error = builder(&nginx.http("/basic/shop.tar.gz"))
            .uri_auth(auth)
            .http_backend(*backend)
            .build()
            .await
            .unwrap_err();

        let ExdError::Load(load) = &error else { panic!("{error}") };
        assert_eq!(load.kind(), ErrorKind::Unauthenticated);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_archive_spares_the_first_request_and_survives_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("cache/shop.tar.gz");
    let rude = Rude::start();
    let uri = rude.arrange(Manner::whole(200, &[("etag", "\"1\"")], &packed(1)));
    let build = || builder(&uri).manifest_cache_path(&kept).poll_interval(Duration::from_secs(3_600)).build();

    build().await.unwrap().close().await.unwrap();
    assert_eq!(fs::read(&kept).unwrap(), packed(1));
    let asked = rude.requests().len();

    let warm = build().await.unwrap();
    assert_eq!((limit(&warm).await, rude.requests().len()), (1, asked), "a warm start asks nobody");
    assert_eq!(warm.status().origin, Origin::Kept);

    drop(rude);
    let offline = build().await.unwrap();
    assert_eq!(limit(&offline).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_path_is_without_effect_on_files() {
    let dir = tempfile::tempdir().unwrap();
    let (place, kept) = (dir.path().join("shop.tar.gz"), dir.path().join("kept.tar.gz"));
    fs::write(&place, packed(1)).unwrap();

    let client =
        builder(&format!("file://{}", place.display())).manifest_cache_path(&kept).build().await.unwrap();

    assert_eq!(limit(&client).await, 1);
    assert!(!kept.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_serves_until_the_server_is_there() {
    let rude = Rude::start();
    let uri = rude.arrange_refusal();
    let client = builder(&uri)
        .baseline(packed(7))
        .stale_policy(StalePolicy::Serve, Duration::from_secs(1))
        .poll_interval(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    assert_eq!((limit(&client).await, client.status().origin), (7, Origin::Baseline));

    rude.arrange_at(rude_path(&uri), Manner::whole(200, &[], &packed(8)));
    let mut seen = 0;
    while client.flag_version() == 1 {
        seen = client.wait_for_refresh(seen).await;
    }
    assert_eq!((limit(&client).await, client.status().origin), (8, Origin::Source));
}

impl Rude {
    /// Arranges an answer that says that there is nothing.
    fn arrange_refusal(&self) -> String {
        self.arrange(Manner::whole(404, &[], b""))
    }
}

fn rude_path(uri: &str) -> &str {
    &uri[uri.find("://").map_or(0, |at| at + 3)..][uri[7..].find('/').unwrap()..]
}

/// The synchronous surface blocks the thread that it is called on, whichever that is.
#[tokio::test(flavor = "current_thread")]
async fn a_namespace_is_loaded_and_refreshed_on_a_thread_of_a_runtime() {
    let rude = Rude::start();
    let uri = rude.arrange(Manner::whole(200, &[], &packed(1)));
    for backend in BACKENDS {
        let options = LoadOptions::new().with_http_backend(*backend);

        let namespace = Namespace::from_uri_with_options(&uri, &options).unwrap();
        namespace.refresh().unwrap();

        assert_eq!((served(&namespace), namespace.flag_version()), (1, 2), "{backend:?}");
    }
}

#[test]
fn the_environment_chooses_the_transport_and_the_builder_overrules_it() {
    // Another process, because the environment of this one is everybody's.
    if let Some(uri) = leverframe::config::ambient_environment(&["LEVERFRAME_TEST_URI"]).pop() {
        let options = LoadOptions::new();
        let options = match leverframe::config::ambient_environment(&["LEVERFRAME_TEST_BACKEND"]).pop() {
            Some(_) => options.with_http_backend(HttpBackend::Curl),
            None => options,
        };
        Namespace::from_uri_with_options(uri.1.expose(), &options).unwrap();
        return;
    }
    let agent = |variables: &[(&str, &str)]| {
        let rude = Rude::start();
        let uri = rude.arrange(Manner::whole(200, &[], &packed(1)));
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".curlrc"), "header = \"x-from: curlrc\"\n").unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_environment_chooses_the_transport_and_the_builder_overrules_it"])
            .env("LEVERFRAME_TEST_URI", &uri)
            .env("HOME", home.path())
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{variables:?}");
        // Only the program reads the user's file.
        rude.requests()[0].to_lowercase().contains("x-from: curlrc")
    };

    assert!(agent(&[("EXD_HTTP_BACKEND", "curl")]));
    assert!(agent(&[("LEVERFRAME_TRANSPORT__USE", "curl_cli")]));
    assert!(agent(&[("LEVERFRAME_TRANSPORT__USE", "curl_cli"), ("EXD_HTTP_BACKEND", "in-process")]));
    #[cfg(feature = "http-in-process")]
    {
        assert!(!agent(&[]));
        assert!(!agent(&[("EXD_HTTP_BACKEND", "in-process")]));
        assert!(!agent(&[("EXD_HTTP_BACKEND", "anything else")]));
        assert!(!agent(&[("LEVERFRAME_TRANSPORT__USE", "reqwest"), ("EXD_HTTP_BACKEND", "curl")]));
        assert!(agent(&[("LEVERFRAME_TRANSPORT__USE", "reqwest"), ("LEVERFRAME_TEST_BACKEND", "curl")]));
    }
}

fn keep_in(dir: &Path) -> LoadOptions {
    let mut config = FileCacheConfig::default();
    config.dir = dir.join("store");
    let store = Arc::new(FileCache::open(config).unwrap());
    LoadOptions::new().with_keep(Keep::in_store(store, "flags.shop").unwrap())
}

fn place(dir: &Path) -> PathBuf {
    dir.join("shop.tar.gz")
}

#[test]
fn a_process_that_is_killed_while_it_keeps_a_document_leaves_an_old_or_a_new_one() {
    if let Some((_, dir)) = leverframe::config::ambient_environment(&["LEVERFRAME_TEST_DIR"]).pop() {
        write_until_killed(Path::new(dir.expose()));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(place(dir.path()), packed(1)).unwrap();
    for round in 0..40_u64 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_process_that_is_killed_while_it_keeps_a_document_leaves_an_old_or_a_new_one",
            ])
            .env("LEVERFRAME_TEST_DIR", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Another moment each time: after the first write, and then some.
        while !dir.path().join("begun").exists() {
            assert!(writer.try_wait().unwrap().is_none(), "the writer ended by itself");
            std::thread::park_timeout(Duration::from_micros(100));
        }
        std::thread::park_timeout(Duration::from_micros(round * 137));
        writer.kill().unwrap();
        writer.wait().unwrap();
        fs::remove_file(dir.path().join("begun")).unwrap();

        // What was kept is all there is now.
        let hidden = dir.path().join("hidden.tar.gz");
        fs::rename(place(dir.path()), &hidden).unwrap();
        let uri = format!("file://{}", place(dir.path()).display());
        let namespace = Namespace::from_uri_with_options(&uri, &keep_in(dir.path())).unwrap();
        assert!(served(&namespace) >= 1);
        fs::rename(&hidden, place(dir.path())).unwrap();
    }
}

fn write_until_killed(dir: &Path) -> ! {
    let uri = format!("file://{}", place(dir).display());
    let namespace = Namespace::from_uri_with_options(&uri, &keep_in(dir)).unwrap();
    for number in 2.. {
        let next = dir.join("next.tar.gz");
        fs::write(&next, archive::pack(&shop::files(number)).unwrap()).unwrap();
        fs::rename(&next, place(dir)).unwrap();
        namespace.refresh().unwrap();
        fs::write(dir.join("begun"), "").unwrap();
    }
    unreachable!("there is always a next number")
}
