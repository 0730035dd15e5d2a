//! A workload's identity, from the platform to the service and back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use leverframe::{
    ErrorKind, NexusConfig, NexusError, Result, Secret, WifConfig, async_trait, settings::CredentialSource,
    testing::ManualClock,
};

use super::stage::{Fault, Stage, eventually, pass};

/// Counts how often it is asked.
#[derive(Clone, Debug, Default)]
struct Platform(Arc<AtomicUsize>);

#[async_trait]
impl CredentialSource for Platform {
    async fn token(&self) -> Result<Secret> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Secret::new(" eyJ.platform.x\n"))
    }
}

fn client(stage: &Stage) -> (leverframe::NexusClient, ManualClock, Platform) {
    let (clock, platform) = (ManualClock::new(), Platform::default());
    let builder = stage.builder().api_key("").credential_source(Arc::new(platform.clone()));
    (builder.clock(Arc::new(clock.clone())).build().unwrap(), clock, platform)
}

fn exchanges(stage: &Stage) -> usize {
    stage.asked("/v1/auth/token-exchange").len()
}

#[test]
fn a_session_stands_in_for_the_key_and_is_had_once() {
    let stage = Stage::filled();
    let (client, _clock, platform) = client(&stage);

    client.sync().unwrap();
    client.set_secret("token", "s3cret-2").unwrap();

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-2");
    assert_eq!((exchanges(&stage), platform.0.load(Ordering::Relaxed)), (1, 1));
    let asked = &stage.asked("/v1/sync")[0];
    assert_eq!(
        (asked.header("authorization"), asked.header("x-nexus-api-key")),
        (Some("Bearer wxt_stage_1"), None)
    );
    let exchange = &stage.asked("/v1/auth/token-exchange")[0];
    assert_eq!(exchange.body, br#"{"oidc_token":"eyJ.platform.x"}"#);
    assert_eq!(exchange.header("authorization"), None);
}

#[test]
fn a_session_that_is_refused_is_replaced_once_and_the_request_made_once_more() {
    let stage = Stage::filled();
    let (client, _clock, platform) = client(&stage);
    stage.end_sessions();

    client.sync().unwrap();

    assert_eq!((exchanges(&stage), platform.0.load(Ordering::Relaxed), stage.syncs()), (2, 2, 3));
    // Whoever is refused with the new one as well is told so.
    for _ in 0..2 {
        stage.fail("/v1/sync", Fault::status(401));
    }
    assert!(matches!(client.sync(), Err(NexusError::Unauthorized)));
    assert_eq!((exchanges(&stage), stage.syncs()), (3, 5));
    assert!(client.get_flag("checkout", false));
}

#[test]
fn eight_requests_that_are_refused_at_once_cost_one_exchange() {
    let stage = Stage::filled();
    let (client, _clock, _) = client(&stage);
    for _ in 0..8 {
        stage.fail("/v1/flags", Fault::Silence);
    }
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let client = client.clone();
            thread::spawn(move || client.delete_flag(&format!("none-{n}")))
        })
        .collect();
    stage.wait_for("/v1/flags", 8);

    stage.end_sessions();
    stage.end_silence();

    for writer in writers {
        // The flag is not there, which only a session that is accepted finds out.
        assert!(matches!(writer.join().unwrap(), Err(NexusError::NotFound)));
    }
    assert_eq!((exchanges(&stage), stage.asked("/v1/flags").len()), (2, 16));
}

#[test]
fn word_of_the_stream_that_a_session_ends_brings_the_next_before_it_does() {
    let stage = Stage::filled();
    let (client, clock, _) = client(&stage);
    client.run_stream();
    stage.wait_for_streams(1);

    stage.tell("auth_expiring");

    stage.while_time_passes(&clock, "the session is replaced", || exchanges(&stage) == 2);
    eventually("the next session is used", || {
        client.sync().unwrap();
        stage.asked("/v1/sync").last().unwrap().header("authorization") == Some("Bearer wxt_stage_2")
    });
    assert_eq!(exchanges(&stage), 2);
}

#[test]
fn without_a_session_no_request_goes_out_even_where_there_is_a_key() {
    let stage = Stage::filled();
    stage.fail_always("/v1/auth", Fault::status(403));

    let refused = stage.builder().credential_source(Arc::new(Platform::default())).build();

    assert!(matches!(refused, Err(NexusError::WifTokenExchangeFailed(_))), "{refused:?}");
    assert_eq!(stage.syncs(), 0);
}

#[test]
fn what_was_there_is_served_while_no_session_can_be_had() {
    let stage = Stage::filled();
    let (client, clock, _) = client(&stage);
    stage.fail_always("/v1/auth", Fault::status(503));
    stage.end_sessions();

    pass(&clock, Duration::from_secs(60));
    eventually("it fails", || client.status().consecutive_failures > 0);

    assert_eq!(client.get_secret("token").unwrap().expose(), "s3cret-1");
    let error = client.sync().unwrap_err();
    assert!(matches!(error, NexusError::Unavailable { status: 503, retry_after: None }), "{error:?}");
    stage.recover();
    client.sync().unwrap();
}

#[test]
fn a_function_can_give_the_token_and_its_failure_is_an_error_without_a_request() {
    let stage = Stage::filled();
    let config = |token_source: leverframe::settings::TokenSource| NexusConfig {
        api_key: String::new(),
        endpoint: stage.url(),
        ttl: None,
        wif: Some(WifConfig { enabled: true, provider: String::new(), token_source: Some(token_source) }),
    };

    let client =
        leverframe::NexusClient::create(config(Box::new(|| Ok("eyJ.function.x\n".to_owned())))).unwrap();
    assert!(client.get_flag("checkout", false));
    let before = stage.asked("").len();
    let failed = leverframe::NexusClient::create(config(Box::new(|| {
        Err(NexusError::Io(std::io::Error::new(std::io::ErrorKind::NotFound, "no token")))
    })));

    let error = failed.unwrap_err();
    assert!(
        matches!(&error, NexusError::WifTokenExchangeFailed(why) if why.contains("no token")),
        "{error:?}"
    );
    assert_eq!((error.kind(), stage.asked("").len()), (ErrorKind::Unauthenticated, before));
}

/// What only a process of its own can show: the variables that a platform sets.
#[cfg(target_os = "linux")]
mod on_platforms {
    use std::process::Command;

    use super::*;
    use crate::again::{Other, command, hear, is_other, say};

    /// The other process: a client of the service that it is told of, for the provider that it is told of.
    fn other() {
        let told = hear();
        let (endpoint, provider) = told.expose().split_once(' ').unwrap();
        let wif = WifConfig { enabled: true, provider: provider.to_owned(), token_source: None };
        let client = leverframe::NexusClient::builder().endpoint(endpoint).wif(wif).build().unwrap();
        assert!(client.get_flag("checkout", false));
        say("proven");
    }

    #[track_caller]
    fn proves(command: Command, endpoint: &str, provider: &str) {
        let mut other = Other::start(command);
        other.tell(&format!("{endpoint} {provider}"));
        assert_eq!(other.hear(), "proven");
        other.succeeds();
    }

    #[test]
    fn the_variables_that_platforms_set_are_found_by_a_process() {
        const NAME: &str = "identity::on_platforms::the_variables_that_platforms_set_are_found_by_a_process";
        if is_other(NAME) {
            return other();
        }
        let (stage, dir) = (Stage::filled(), tempfile::tempdir().unwrap());
        let token = dir.path().join("token");
        std::fs::write(&token, "eyJ.of-the-platform.x\n").unwrap();

        for (variable, provider) in [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "auto"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "aws"),
            ("AZURE_FEDERATED_TOKEN_FILE", "auto"),
            ("AZURE_FEDERATED_TOKEN_FILE", "azure"),
        ] {
            let mut command = command(None, NAME);
            command.env_remove("AWS_WEB_IDENTITY_TOKEN_FILE").env(variable, &token);
            proves(command, &stage.url(), provider);
            let asked = stage.asked("/v1/auth/token-exchange");
            assert_eq!(asked.last().unwrap().json()["oidc_token"], "eyJ.of-the-platform.x", "{variable}");
        }

        assert_eq!(exchanges(&stage), 4);
        // A developer's session is used as it is.
        let mut command = command(None, NAME);
        command.env("WESTYX_DEV_TOKEN", "wxt_stage_4");
        proves(command, &stage.url(), "developer");
        assert_eq!(exchanges(&stage), 4);
    }

    #[cfg(feature = "aws-iam")]
    #[test]
    fn a_containers_role_is_proven_by_a_signed_question_and_no_proxy_hears_of_its_keys() {
        const NAME: &str = "identity::on_platforms::a_containers_role_is_proven_by_a_signed_question_and_no_proxy_hears_of_its_keys";
        if is_other(NAME) {
            return other();
        }
        let (service, container, proxy) = (Stage::filled(), Stage::start(), Stage::start());
        let keys = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"s3cret-key","Token":"temporary"}"#;
        container.fail_always("/keys", Fault::body(keys));
        let mut command = command(None, NAME);
        command
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url()))
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-container")
            .env("AWS_REGION", "eu-central-1")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        // Whoever goes by the environment asks it for everything that is not excepted by name.
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            command.env(name, proxy.url());
        }
        command.env("NO_PROXY", "localhost").env("no_proxy", "localhost");
        let endpoint = service.url().replace("127.0.0.1", "localhost");

        proves(command, &endpoint, "aws_iam");

        assert_eq!(proxy.asked("").len(), 0);
        assert_eq!(container.asked("/keys")[0].header("authorization"), Some("of-the-container"));
        let exchange = service.asked("/v1/auth/token-exchange")[0].json();
        assert_eq!(exchange["provider"], "aws_iam");
        let named = &exchange["aws_sts_request"]["headers"]["X-Nexus-Server-ID"];
        assert_eq!(named, endpoint.trim_start_matches("http://"));
        assert!(!exchange.to_string().contains("s3cret-key"));
    }
}
