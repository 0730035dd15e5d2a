//! Providers, detection and sessions before scripted metadata services and a scripted service.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{
    detect::{Proof, find},
    *,
};
use crate::{
    live::block_on,
    settings::{NexusError, credentials::Credentials, standing::Standing},
    testing::{Answer, ManualClock, ScriptedTransport},
    traits::Transport,
};

const EXCHANGE: &str = "/v1/auth/token-exchange";
/// 2026-11-21T10:00:00Z.
const NOW: Duration = Duration::from_secs(1_795_255_200);

/// A machine with no platform around it, and a service.
struct House {
    dir: tempfile::TempDir,
    clock: ManualClock,
    metadata: ScriptedTransport,
    service: ScriptedTransport,
    around: Surroundings,
    wishes: Wishes,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, metadata) = (ManualClock::new(), ScriptedTransport::new());
        clock.set_wall(SystemTime::UNIX_EPOCH + NOW);
        let around = Surroundings {
            variables: [("HOME".to_owned(), Secret::new(dir.path().display().to_string()))].into(),
            clock: Arc::new(clock.clone()),
            direct: Arc::new(metadata.clone()),
            kubernetes_token: dir.path().join("kubernetes"),
            gcp: "http://metadata".to_owned(),
            link_local: "http://link-local".to_owned(),
            #[cfg(feature = "aws-iam")]
            ecs: "http://ecs".to_owned(),
        };
        let wishes = Wishes { endpoint: "https://shop.example.com".to_owned(), ..Wishes::default() };
        Self { dir, clock, metadata, service: ScriptedTransport::new(), around, wishes }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.around.variables.insert(name.to_owned(), Secret::new(value));
    }

    fn metadata_says(&self, path: &str, header: Option<(&'static str, &'static str)>, body: &str) {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        self.metadata.answer(path, Answer::Whole(StatusCode::OK, headers, Bytes::from(body.to_owned())));
    }

    fn proof(&self, provider: WifProvider) -> Result<Proof> {
        block_on(find(provider, &self.around, &self.wishes))
    }

    fn payload(&self, provider: WifProvider) -> Result<String> {
        match self.proof(provider)? {
            Proof::Exchange(source) => Ok(block_on(source.exchange_payload())?.expose().to_owned()),
            Proof::Developer(_) => panic!("a developer's session"),
        }
    }

    fn found(&self) -> String {
        match self.proof(WifProvider::Auto).unwrap() {
            Proof::Exchange(source) => source.provider().to_owned(),
            Proof::Developer(_) => "developer".to_owned(),
        }
    }

    fn sessions(&self) -> Sessions {
        self.sessions_by(Arc::new(self.service.clone()))
    }

    fn sessions_by(&self, service: Arc<dyn Transport>) -> Sessions {
        let standing = Arc::new(Standing::new(Arc::new(self.clock.clone())));
        let (wishes, around) = (self.wishes.clone(), self.around.clone());
        Sessions::new(WifProvider::Auto, None, wishes, around, service, standing).unwrap()
    }

    fn service_gives(&self, body: &str) {
        let body = Bytes::from(body.to_owned());
        self.service.answer(EXCHANGE, Answer::Whole(StatusCode::OK, HeaderMap::new(), body));
    }

    fn service_refuses(&self, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(b"s3cret details");
        self.service.answer(EXCHANGE, Answer::Whole(status, HeaderMap::new(), body));
    }

    fn exchanges(&self) -> usize {
        self.service.requests().len()
    }
}

fn bearer(sessions: &Sessions) -> String {
    let (name, value) = block_on(sessions.header()).unwrap();
    assert!(name == http::header::AUTHORIZATION && value.is_sensitive());
    value.to_str().unwrap().to_owned()
}

/// Waits until an exchange that nobody waits for is over.
fn brings(sessions: &Sessions, next: &str) {
    let before = bearer(sessions);
    assert!(before == next || before == "Bearer one", "{before}");
    sessions.ends(2);
    assert_eq!(bearer(sessions), next);
}

fn with_kubernetes() -> House {
    let house = House::new();
    house.file("kubernetes", "eyJ.cluster.x\n");
    house
}

#[test]
fn providers_are_found_in_the_documented_order() {
    let mut house = House::new();
    house.file(".config/westyx/dev-credentials.json", "{}");
    assert_eq!(house.found(), "developer");

    house.metadata_says("/metadata/instance", None, "{}");
    assert_eq!(house.found(), "azure");

    house.metadata_says("/computeMetadata/v1/", Some(("metadata-flavor", "Google")), "");
    assert_eq!(house.found(), "gcp");

    house.file("kubernetes", "t");
    assert_eq!(house.found(), "kubernetes");

    let azure = house.file("azure", "t");
    house.set("AZURE_FEDERATED_TOKEN_FILE", azure);
    assert_eq!(house.found(), "azure");

    let aws = house.file("aws", "t");
    house.set("AWS_WEB_IDENTITY_TOKEN_FILE", aws);
    assert_eq!(house.found(), "aws");
}

#[test]
fn a_variable_that_names_no_file_is_passed_over_and_nothing_at_all_is_an_error() {
    let mut house = House::new();
    house.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent");

    let error = house.proof(WifProvider::Auto).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().is_some());
}

#[test]
fn whoever_answers_every_address_is_not_taken_for_googles_metadata_server() {
    let house = House::new();
    house.metadata_says("/computeMetadata/v1/", None, "<html>log in to the hotel's network");

    assert!(house.proof(WifProvider::Auto).is_err());
}

#[test]
fn a_projected_token_comes_before_that_of_the_cluster() {
    let mut house = with_kubernetes();
    assert_eq!(house.payload(WifProvider::Kubernetes).unwrap(), r#"{"oidc_token":"eyJ.cluster.x"}"#);

    house.wishes.kubernetes_token = Some(house.file("projected", "eyJ.for-nexus.x").into());
    assert_eq!(house.payload(WifProvider::Kubernetes).unwrap(), r#"{"oidc_token":"eyJ.for-nexus.x"}"#);
}

#[test]
fn a_token_file_is_read_again_at_each_exchange() {
    let house = with_kubernetes();
    let Proof::Exchange(source) = house.proof(WifProvider::Auto).unwrap() else { panic!() };
    house.file("kubernetes", "eyJ.next.x");

    assert_eq!(block_on(source.exchange_payload()).unwrap().expose(), r#"{"oidc_token":"eyJ.next.x"}"#);
}

#[test]
fn metadata_services_are_asked_with_their_headers_bounds_and_audience() {
    let mut house = House::new();
    house.wishes.audience = Some("api://my app".to_owned());
    let identity = "/computeMetadata/v1/instance/service-accounts/default/identity";
    house.metadata_says(identity, None, "eyJ.g.x\n");
    house.metadata_says(
        "/metadata/identity/oauth2/token",
        None,
        r#"{"access_token":"eyJ.a.x","expires_in":"1"}"#,
    );

    assert_eq!(house.payload(WifProvider::Gcp).unwrap(), r#"{"oidc_token":"eyJ.g.x"}"#);
    assert_eq!(house.payload(WifProvider::Azure).unwrap(), r#"{"oidc_token":"eyJ.a.x"}"#);

    let asked = house.metadata.requests();
    assert_eq!(asked[0].uri.query(), Some("audience=api%3A%2F%2Fmy%20app"));
    assert_eq!(asked[0].headers["metadata-flavor"], "Google");
    assert_eq!(asked[1].uri.query(), Some("api-version=2018-02-01&resource=api%3A%2F%2Fmy%20app"));
    assert_eq!(asked[1].headers["metadata"], "true");
    for request in asked {
        assert_eq!((request.deadline, request.body_limit), (Duration::from_secs(2), 64 * 1024));
        assert!(!request.redirects && request.attempts == 1);
    }
}

#[test]
fn an_error_page_of_a_metadata_service_is_never_sent_as_a_token() {
    let house = House::new();
    let identity = "/computeMetadata/v1/instance/service-accounts/default/identity";
    for (status, body) in
        [(302, "eyJ.x.y"), (404, "eyJ.x.y"), (500, "eyJ.x.y"), (200, "<html>no</html>"), (200, "")]
    {
        let status = StatusCode::from_u16(status).unwrap();
        house
            .metadata
            .answer(identity, Answer::Whole(status, HeaderMap::new(), Bytes::from_static(body.as_bytes())));
        assert!(house.payload(WifProvider::Gcp).is_err(), "{status} {body}");
    }
    house.metadata.answer(identity, Answer::Endless);
    assert_eq!(house.payload(WifProvider::Gcp).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn azure_wants_an_audience_of_ones_own() {
    let error = House::new().payload(WifProvider::Azure).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn a_region_is_for_aws_iam_alone() {
    let mut house = with_kubernetes();
    house.wishes.aws_region = Some("eu-central-1".to_owned());

    assert_eq!(house.proof(WifProvider::Auto).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn one_session_serves_until_it_is_time_for_the_next() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","token_type":"Bearer","expires_in":3600}"#);
    let sessions = house.sessions();

    assert_eq!((bearer(&sessions), bearer(&sessions)), ("Bearer one".to_owned(), "Bearer one".to_owned()));
    assert_eq!(house.exchanges(), 1);

    house.service_gives(r#"{"session_token":"two","expires_in":3600}"#);
    house.clock.advance(Duration::from_secs(3600 / 2));
    assert_eq!(bearer(&sessions), "Bearer one");
    house.clock.advance(Duration::from_secs(3600 / 4));
    brings(&sessions, "Bearer two");
    assert_eq!(house.exchanges(), 2);
    let request = &house.service.requests()[0];
    assert!(
        request.method == Method::POST
            && !request.redirects
            && request.body == r#"{"oidc_token":"eyJ.cluster.x"}"#
    );
}

#[test]
fn a_session_that_cannot_be_renewed_is_used_while_it_is_good_and_not_longer() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":3600}"#);
    let sessions = house.sessions();
    assert_eq!(bearer(&sessions), "Bearer one");

    house.service_refuses(500);
    house.clock.advance(Duration::from_secs(3600 * 3 / 4));
    assert_eq!(bearer(&sessions), "Bearer one");
    sessions.ends(2);
    for _ in 0..100 {
        assert_eq!(bearer(&sessions), "Bearer one");
    }
    assert_eq!(house.exchanges(), 2, "one try, and then a pause");

    house.clock.advance(Duration::from_secs(3600 / 4 - 59));
    let error = block_on(sessions.header()).unwrap_err();
    assert!(matches!(error, NexusError::Unavailable { status: 500, .. }), "{error:?}");
}

#[test]
fn short_sessions_are_believed_to_be_short() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":30}"#);
    let sessions = house.sessions();
    assert_eq!(bearer(&sessions), "Bearer one");

    house.service_gives(r#"{"session_token":"two","expires_in":30}"#);
    house.clock.advance(Duration::from_secs(16));

    brings(&sessions, "Bearer two");
}

#[test]
fn a_refused_session_is_replaced_once() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":3600}"#);
    let sessions = house.sessions();
    assert_eq!(bearer(&sessions), "Bearer one");

    house.service_gives(r#"{"session_token":"two","expires_in":3600}"#);
    assert!(block_on(sessions.refused(&HeaderValue::from_static("Bearer one"))).unwrap());

    assert_eq!(bearer(&sessions), "Bearer two");
    assert_eq!(house.exchanges(), 2);
}

#[test]
fn eight_who_are_refused_with_the_same_session_cost_one_exchange() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":3600}"#);
    let sessions = house.sessions();
    let sent = block_on(sessions.header()).unwrap().1;
    house.service_gives(r#"{"session_token":"two","expires_in":3600}"#);

    std::thread::scope(|scope| {
        for _ in 0..7 {
            scope.spawn(|| assert!(block_on(sessions.refused(&sent)).unwrap()));
        }
    });
    // One hears of it only when all is over.
    assert!(block_on(sessions.refused(&sent)).unwrap());

    assert_eq!((house.exchanges(), bearer(&sessions)), (2, "Bearer two".to_owned()));
}

#[test]
fn word_that_a_session_ends_soon_brings_the_next_at_once() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":3600}"#);
    let sessions = house.sessions();
    assert_eq!(bearer(&sessions), "Bearer one");

    house.service_gives(r#"{"session_token":"two","expires_in":3600}"#);
    sessions.expiring();

    brings(&sessions, "Bearer two");
    assert_eq!(house.exchanges(), 2);
}

#[test]
fn without_a_session_nothing_is_sent_and_no_answer_is_shown() {
    let house = with_kubernetes();
    for status in [302, 400, 401, 403, 404, 429, 500] {
        house.service_refuses(status);
        let error = block_on(house.sessions().header()).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cret"), "{error:?}");
    }
    for body in [
        "",
        "[]",
        r#"{"session_token":""}"#,
        r#"{"session_token":"s3cret\n"}"#,
        r#"{"session_token":"s3cret","expires_in":0}"#,
        r#"{"session_token":"s3cret","expires_in":-5}"#,
        r#"{"session_token":"s3cret","expires_in":"s3cret"}"#,
    ] {
        house.service_gives(body);
        // A line break around a token is whitespace, and cut off.
        let outcome = block_on(house.sessions().header());
        assert_eq!(outcome.is_ok(), body.contains("\\n"), "{body}");
        assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    }
}

#[test]
fn many_who_ask_at_once_cost_one_exchange() {
    let house = with_kubernetes();
    house.service_gives(r#"{"session_token":"one","expires_in":3600}"#);
    let sessions = house.sessions();

    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(bearer(&sessions), "Bearer one"));
        }
    });

    assert_eq!(house.exchanges(), 1);
}

fn developers_file(house: &House, mode: u32, content: &str) {
    let path = house.file(".config/westyx/dev-credentials.json", content);
    #[cfg(unix)]
    fs::set_permissions(Path::new(&path), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

fn entry(endpoint: &str, expires_at: &str) -> String {
    format!(
        r#"{{"version":1,"credentials":[
            {{"service_id":"o","endpoint":"https://other.example.com","token":"other","expires_at":"2026-11-21T18:00:00Z"}},
            {{"service_id":"s","endpoint":"{endpoint}","token":"mine","expires_at":"{expires_at}"}}]}}"#
    )
}

#[test]
fn a_developers_session_is_used_as_it_is() {
    let mut house = House::new();
    developers_file(&house, 0o600, &entry("https://SHOP.example.com:443/", "2026-11-21T18:00:00+00:00"));
    assert_eq!(bearer(&house.sessions()), "Bearer mine");

    house.set("WESTYX_DEV_TOKEN", " from-the-variable ");
    assert_eq!(bearer(&house.sessions()), "Bearer from-the-variable");
    assert_eq!(house.exchanges(), 0);
}

#[test]
fn a_developers_session_that_is_over_of_others_or_open_to_others_is_refused() {
    for (mode, content) in [
        (0o600, entry("https://shop.example.com", "2026-11-21T10:00:59Z")),
        (0o600, entry("https://shop.example.com", "soon")),
        (0o600, entry("https://shop.example.com:8443", "2026-11-21T18:00:00Z")),
        (0o640, entry("https://shop.example.com", "2026-11-21T18:00:00Z")),
        (
            0o600,
            entry("https://shop.example.com", "2026-11-21T18:00:00Z")
                .replace("\"version\":1", "\"version\":2"),
        ),
        (0o600, "{".to_owned()),
        (0o600, " ".repeat((1 << 20) + 1)),
    ] {
        let house = House::new();
        developers_file(&house, mode, &content);
        let error = block_on(house.sessions().header()).unwrap_err();
        assert!(!format!("{error:?}").contains("mine"), "{error:?}");
    }
}

#[cfg(feature = "aws-iam")]
mod aws_iam {
    use super::*;

    fn house() -> House {
        let mut house = House::new();
        house.wishes.aws_region = Some("eu-central-1".to_owned());
        house
    }

    fn request(house: &House) -> serde_json::Value {
        let payload: serde_json::Value =
            serde_json::from_str(&house.payload(WifProvider::AwsIam).unwrap()).unwrap();
        assert_eq!(payload["provider"], "aws_iam");
        payload["aws_sts_request"].clone()
    }

    #[test]
    fn a_functions_variables_sign_for_one_service() {
        let mut house = house();
        house.set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        house.set("AWS_SECRET_ACCESS_KEY", "s3cret");
        house.set("AWS_SESSION_TOKEN", "temporary");

        let request = request(&house);

        assert_eq!(request["body"], "Action=GetCallerIdentity&Version=2011-06-15");
        let headers = &request["headers"];
        assert_eq!(headers["Host"], "sts.eu-central-1.amazonaws.com");
        assert_eq!(headers["X-Nexus-Server-ID"], "shop.example.com");
        assert_eq!(headers["X-Amz-Date"], "20261121T100000Z");
        assert_eq!(headers["X-Amz-Security-Token"], "temporary");
        let authorization = headers["Authorization"].as_str().unwrap();
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/eu-central-1/sts/aws4_request, \
             SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;x-nexus-server-id, \
             Signature="
        ));
        assert!(!request.to_string().contains("s3cret"));
    }

    const KEYS: &str = r#"{"AccessKeyId":"ASIA1","SecretAccessKey":"s3cret","Token":"t","Expiration":"x"}"#;

    #[test]
    fn a_container_and_an_instance_are_asked_for_their_roles_keys() {
        let mut container = house();
        container.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1");
        container.metadata_says("/v2/credentials/1", None, KEYS);
        assert!(request(&container)["headers"]["Authorization"].as_str().unwrap().contains("ASIA1"));

        let mut pod = house();
        let token = pod.file("pod", "pod-token\n");
        pod.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
        pod.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
        pod.metadata_says("/v1/credentials", None, KEYS);
        assert!(request(&pod)["headers"]["Authorization"].as_str().unwrap().contains("ASIA1"));
        assert_eq!(pod.metadata.requests()[0].headers["authorization"], "pod-token");

        let mut instance = House::new();
        instance.metadata_says("/latest/api/token", None, "imds");
        instance.metadata_says("/latest/meta-data/placement/region", None, "us-east-1");
        instance.metadata_says("/latest/meta-data/iam/security-credentials/", None, "role\n");
        instance.metadata_says("/latest/meta-data/iam/security-credentials/role", None, KEYS);
        assert_eq!(request(&instance)["headers"]["Host"], "sts.us-east-1.amazonaws.com");
        let asked = instance.metadata.requests();
        assert_eq!(asked[0].method, Method::PUT);
        assert!(
            asked
                .iter()
                .skip(1)
                .filter(|r| r.method == Method::GET)
                .all(|r| r.headers["x-aws-ec2-metadata-token"] == "imds")
        );
        instance.wishes.aws_region = Some("evil.example.com/".to_owned());
        assert_eq!(instance.payload(WifProvider::AwsIam).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn keys_are_not_asked_for_off_the_machine() {
        let mut house = house();
        house.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://collector.example.com/");

        let error = house.payload(WifProvider::AwsIam).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(house.metadata.requests().is_empty());
    }

    #[test]
    fn it_is_never_found_by_itself() {
        let mut house = House::new();
        house.set("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        house.set("AWS_SECRET_ACCESS_KEY", "s3cret");

        assert_eq!(house.proof(WifProvider::Auto).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
