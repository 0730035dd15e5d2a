//! Workloads of AWS without a token: a signed question, and a stub of STS that knows the answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Redirect, Response},
    routing::any,
};
use leverframe_server::settings::model::{Kind, Trust};
use serde_json::{Value, json};

use super::{issuer::Key, stage::Stage};

const HOST: &str = "acme-payments-prod.settings.example.com";
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const ARN: &str = "arn:aws:sts::123456789012:assumed-role/billing/i-0abc";

/// What STS was asked.
type Asked = Arc<Mutex<Vec<(Uri, HeaderMap, Bytes)>>>;

struct Sts {
    url: String,
    asked: Asked,
    answer: Arc<Mutex<(u16, String)>>,
    /// Answers come while nobody holds it.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Sts {
    async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (asked, answer) = (Asked::default(), Arc::new(Mutex::new((200, identity(ARN, "123456789012")))));
        let gate = Arc::<tokio::sync::Mutex<()>>::default();
        let here = (Arc::clone(&asked), Arc::clone(&answer), Arc::clone(&gate));
        let router = Router::new().fallback(any(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let (asked, answer, gate) = here.clone();
            async move {
                asked.lock().unwrap().push((uri, headers, body));
                drop(gate.lock().await);
                let (status, text) = answer.lock().unwrap().clone();
                reply(status, text)
            }
        }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked, answer, gate }
    }

    fn set(&self, status: u16, text: &str) {
        *self.answer.lock().unwrap() = (status, text.to_owned());
    }

    /// Keeps answers back for as long as what it returns is there.
    async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.gate).lock_owned().await
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn reply(status: u16, text: String) -> Response {
    if status == 307 {
        return Redirect::temporary(&text).into_response();
    }
    (StatusCode::from_u16(status).unwrap(), text).into_response()
}

fn identity(arn: &str, account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>AROAEXAMPLE:i-0abc</UserId><Account>{account}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
}

/// A server whose service `prod` trusts the role `billing`.
async fn stage() -> (Stage, Sts) {
    let sts = Sts::new().await;
    let file = format!(
        "[aws_iam]\nregions = [\"eu-central-1\"]\nhosts = [\"*.settings.example.com\"]\nendpoint = {:?}\n",
        sts.url
    );
    let stage = Stage::with(Key::ed25519("none"), &file, &[], |_| {}).await;
    let subject = "arn:aws:sts::123456789012:assumed-role/billing/*";
    stage.trusted("prod", Kind::Backend, &[Trust::new("role", "aws_iam", "123456789012", subject)]).await;
    (stage, sts)
}

/// The proof that a workload sends; `number` tells its signature from others.
fn proof(stage: &Stage, number: u32) -> Value {
    let now = leverframe::rfc3339(stage.now());
    let date: String = now[..19].chars().filter(|c| !"-:".contains(*c)).collect();
    let signed = "content-length;content-type;host;x-amz-date;x-amz-security-token;x-nexus-server-id";
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}/eu-central-1/sts/aws4_request, SignedHeaders={signed}, \
         Signature={number:064x}",
        &date[..8]
    );
    json!({
        "provider": "aws_iam",
        "aws_sts_request": {
            "headers": {
                "Host": "sts.eu-central-1.amazonaws.com",
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": BODY.len().to_string(),
                "X-Nexus-Server-ID": HOST,
                "X-Amz-Date": format!("{date}Z"),
                "X-Amz-Security-Token": "session/token+1",
                "Authorization": authorization,
            },
            "body": BODY,
        },
    })
}

#[tokio::test]
async fn a_signed_question_is_sent_on_and_its_answer_believed() {
    let (stage, sts) = stage().await;
    let proof = proof(&stage, 1);

    let answer = stage.exchange_at(HOST, &proof).await;

    assert_eq!(answer.status, 200, "{}", answer.text);
    let json = answer.json();
    assert_eq!((&json["wif_provider"], &json["service_kind"]), (&json!("aws_iam"), &json!("backend")));
    let asked = sts.asked.lock().unwrap().remove(0);
    assert_eq!((asked.0.path(), &*asked.2), ("/", BODY.as_bytes()));
    for (name, value) in proof["aws_sts_request"]["headers"].as_object().unwrap() {
        assert_eq!(asked.1[&*name.to_lowercase()], *value.as_str().unwrap(), "{name}");
    }
    let session = json["session_token"].as_str().unwrap();
    let sync = stage.server.request(http::Method::GET, "/v1/sync", session).header("host", HOST);
    assert_eq!(stage.server.send(sync).await.status, 200);
}

#[tokio::test]
async fn a_signature_is_good_once_and_for_five_minutes() {
    let (stage, sts) = stage().await;
    let (first, old) = (proof(&stage, 1), proof(&stage, 2));

    assert_eq!(stage.exchange_at(HOST, &first).await.status, 200);
    assert_eq!(stage.exchange_at(HOST, &first).await.status, 401);
    for rewritten in rewritten(&first) {
        assert_eq!(stage.exchange_at(HOST, &rewritten).await.status, 401, "{rewritten}");
    }
    assert_eq!(sts.asked(), 1, "of one signature");
    stage.clock.advance(Duration::from_secs(300));
    assert_eq!(stage.exchange_at(HOST, &first).await.status, 401);
    assert_eq!(stage.exchange_at(HOST, &old).await.status, 200);
    stage.clock.advance(Duration::from_secs(1));
    assert_eq!(stage.exchange_at(HOST, &proof(&stage, 3)).await.status, 200);
    let late = json!({ "provider": "aws_iam", "aws_sts_request": old["aws_sts_request"] });
    assert_eq!(stage.exchange_at(HOST, &late).await.status, 401);
    assert_eq!(sts.asked(), 3);
}

/// The same signature, written in other ways that are read alike.
fn rewritten(proof: &Value) -> [Value; 4] {
    let written = proof["aws_sts_request"]["headers"]["Authorization"].as_str().unwrap();
    let (scheme, fields) = written.split_once(' ').unwrap();
    let [credential, signed, signature] = fields.split(", ").collect::<Vec<_>>()[..] else { panic!() };
    [
        format!("{scheme} {credential},{signed},{signature}"),
        format!("{scheme} {credential},  {signed}, {signature} "),
        format!("{scheme} {signature}, {signed}, {credential}"),
        written.replace("AKIDEXAMPLE", "AKIDOTHER"),
    ]
    .map(|text| {
        let mut proof = proof.clone();
        proof["aws_sts_request"]["headers"]["Authorization"] = json!(text);
        proof
    })
}

#[tokio::test]
async fn what_is_signed_for_others_is_not_sent_on() {
    let (stage, sts) = stage().await;
    let mut number = 0;
    for (header, value) in [
        ("Host", "sts.eu-west-1.amazonaws.com"),
        ("Host", "127.0.0.1"),
        ("X-Nexus-Server-ID", "acme-payments-test.settings.example.com"),
        ("X-Nexus-Server-ID", "acme-payments-prod.settings.example.com:8443"),
        ("X-Amz-Date", "20200101T000000Z"),
        ("X-Forwarded-Host", "a"),
    ] {
        number += 1;
        let mut proof = proof(&stage, number);
        proof["aws_sts_request"]["headers"][header] = json!(value);
        assert_eq!(stage.exchange_at(HOST, &proof).await.status, 401, "{header}");
    }
    let mut other = proof(&stage, 90);
    other["aws_sts_request"]["body"] = json!("Action=GetSessionToken&Version=2011-06-15");
    assert_eq!(stage.exchange_at(HOST, &other).await.status, 401);
    // Whoever was sent it and calls us what the client calls them.
    let mut stolen = proof(&stage, 91);
    stolen["aws_sts_request"]["headers"]["X-Nexus-Server-ID"] = json!("acme-payments-prod.evil.example");
    assert_eq!(stage.exchange_at("acme-payments-prod.evil.example", &stolen).await.status, 401);
    assert_eq!(sts.asked(), 0);
    // A port that goes without saying makes no other server.
    let mut port = proof(&stage, 92);
    port["aws_sts_request"]["headers"]["X-Nexus-Server-ID"] = json!(format!("{HOST}:443"));
    assert_eq!(stage.exchange_at(HOST, &port).await.status, 200);
}

#[tokio::test]
async fn only_what_aws_says_of_a_trusted_role_counts() {
    let (stage, sts) = stage().await;
    let mut number = 0;
    let mut status = async |code: u16, text: &str| {
        sts.set(code, text);
        number += 1;
        stage.exchange_at(HOST, &proof(&stage, number)).await.status.as_u16()
    };
    let other = ARN.replace("billing", "web");
    let elsewhere = ARN.replace("123456789012", "210987654321");

    assert_eq!(status(200, &identity(ARN, "123456789012")).await, 200);
    assert_eq!(status(200, &identity(&other, "123456789012")).await, 401);
    assert_eq!(status(200, &identity(&elsewhere, "210987654321")).await, 401);
    assert_eq!(status(200, &identity(ARN, "210987654321")).await, 401);
    assert_eq!(status(200, "<html>").await, 401);
    assert_eq!(status(403, "<ErrorResponse/>").await, 401);
    assert_eq!(status(500, "").await, 503);
    assert_eq!(status(307, "http://127.0.0.1:1/").await, 503);
    assert_eq!(status(200, &"x".repeat(65 * 1_024)).await, 503);
}

#[tokio::test]
async fn a_question_that_aws_did_not_answer_may_be_asked_again() {
    let (stage, sts) = stage().await;
    let proof = proof(&stage, 1);

    sts.set(500, "");
    assert_eq!(stage.exchange_at(HOST, &proof).await.status, 503);
    sts.set(200, &identity(ARN, "123456789012"));
    assert_eq!(stage.exchange_at(HOST, &proof).await.status, 200);
    assert_eq!(stage.exchange_at(HOST, &proof).await.status, 401);
}

/// Strangers make up as many signatures as they like.
#[tokio::test]
async fn of_a_signature_that_aws_refused_nothing_is_remembered() {
    let (stage, sts) = stage().await;
    let proof = proof(&stage, 1);

    sts.set(403, "<ErrorResponse/>");
    for _ in 0..2 {
        assert_eq!(stage.exchange_at(HOST, &proof).await.status, 401);
    }
    sts.set(200, &identity(ARN, "123456789012"));

    assert_eq!(stage.exchange_at(HOST, &proof).await.status, 200);
    assert_eq!(sts.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_signature_sent_twice_at_once_one_is_good() {
    let (stage, sts) = stage().await;
    let proof = proof(&stage, 1);
    let held = sts.hold().await;

    let (one, other) = (stage.exchange_at(HOST, &proof), stage.exchange_at(HOST, &proof));
    let (mut one, mut other) = (Box::pin(one), Box::pin(other));
    // Whichever comes second is refused while AWS is still being asked about the first.
    let (early, left) = tokio::select! {
        answer = &mut one => (answer, other),
        answer = &mut other => (answer, one),
    };
    drop(held);

    assert_eq!((early.status.as_u16(), left.await.status.as_u16(), sts.asked()), (401, 200, 1));
}
