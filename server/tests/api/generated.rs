//! Requests that are made up from the server's own description of itself: none may make it fail.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use leverframe::manifest::archive;

use crate::support::TestServer;

/// Where `.ci/install` puts the program that makes the requests up.
const PROGRAM: &str = "/opt/schemathesis/bin/schemathesis";

/// Left out because streams do not end, and because what needs people to log in answers 501 by design.
const LEFT_OUT: &str = "/events$|/admins|/auth/|/login";

/// The first answers 501 by design, too. The second would revoke the token that the requests are made with: ids from
/// earlier answers are tried.
const REMOVALS: [&str; 2] =
    ["DELETE /api/v1/tenants/{tenant}/namespaces/{namespace}", "DELETE /api/v1/tokens/{id}"];

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_up_from_the_description_never_make_the_server_fail() {
    let server = TestServer::start().await;
    push(&server).await;
    furnish(&server).await;
    let place = tempfile::tempdir().unwrap();
    // So that most requests get as far as a handler.
    let settings = "[parameters]\ntenant = \"acme\"\nnamespace = \"payments\"\nslug = \"payments\"\n\
                    environment = \"production\"\n";
    fs::write(place.path().join("named.toml"), settings).unwrap();
    fs::write(place.path().join("made-up.toml"), "").unwrap();

    for (settings, examples) in [("named.toml", "15"), ("made-up.toml", "5")] {
        let (passed, printed) = run(&server, place.path(), settings, examples).await;
        assert!(passed, "{printed}");
    }

    let alive = server.get("/readyz", "").await;
    assert_eq!(alive.status, 200);
}

async fn push(server: &TestServer) {
    let flag = "schema_version = \"0.1\"\n[flag]\ntype = \"boolean\"\n[flag.variants]\non = true\noff = false\n\
                [flag.environments._]\nvariant = \"on\"\n";
    let tree = [("flags/new-checkout.toml", flag)].into_iter().collect();
    let mut body = b"--b\r\ncontent-disposition: form-data; name=\"archive\"; filename=\"a.tar.gz\"\r\n\
        content-type: application/octet-stream\r\n\r\n"
        .to_vec();
    body.extend_from_slice(&archive::pack(&tree).unwrap());
    body.extend_from_slice(b"\r\n--b--\r\n");
    let put = server.request(
        reqwest::Method::PUT,
        "/api/v1/tenants/acme/namespaces/payments/manifest",
        &server.root,
    );
    let pushed = server.send(put.header("content-type", "multipart/form-data; boundary=b").body(body)).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text);
}

/// Makes an environment that has settings.
async fn furnish(server: &TestServer) {
    let path = "/api/v1/tenants/acme/namespaces/payments/settings/environments/production";
    let kind = serde_json::json!({"kind": "backend"});
    let put = server.request(reqwest::Method::PUT, path, &server.root).json(&kind);
    assert_eq!(server.send(put).await.status, 201);
}

async fn run(server: &TestServer, place: &Path, settings: &str, examples: &str) -> (bool, String) {
    assert!(Path::new(PROGRAM).exists(), "`{PROGRAM}` is missing: run `.ci/install`");
    let mut command = Command::new(PROGRAM);
    command
        .args(["--config-file", settings, "run"])
        .arg(server.url("/api/v1/openapi.json"))
        .args(["--url", &server.url(""), "--checks", "not_a_server_error", "--workers", "1", "--no-color"])
        .args(["--max-examples", examples, "--seed", "1", "--request-timeout", "20"])
        .args(["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"])
        .args(["--exclude-path-regex", LEFT_OUT])
        .args(REMOVALS.iter().flat_map(|name| ["--exclude-name", name]))
        .args(["-H", &format!("Authorization: Bearer {}", server.root)])
        .current_dir(place)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}
