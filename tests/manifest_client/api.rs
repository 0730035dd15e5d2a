//! Asking a server for anything else.

use leverframe::{ManifestError, ServerApi, live::block_on};
use serde_json::json;

use crate::scripted::{Scripted, json, refusal};

const TOKEN: &str = "exd_tenant_canary";

#[test]
fn each_method_shows_the_token_and_sends_what_it_is_given() {
    let server = Scripted::start(|asked| match asked.line.split(' ').next() {
        Some("DELETE") => (204, Vec::new(), Vec::new()),
        _ => json(200, json!({ "did": asked.line })),
    });
    let api = ServerApi::new(server.base() + "/", TOKEN);

    let got = block_on(api.get("gate/acme")).unwrap();
    block_on(api.post("gate/acme/keys", &json!({ "name": "a" }))).unwrap();
    block_on(api.patch("gate/acme", &json!({ "kill_signal": true }))).unwrap();
    block_on(api.delete("gate/acme/keys/wpk_1")).unwrap();

    assert_eq!(got["did"], "GET /api/v1/gate/acme");
    let asked = server.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/gate/acme",
            "POST /api/v1/gate/acme/keys",
            "PATCH /api/v1/gate/acme",
            "DELETE /api/v1/gate/acme/keys/wpk_1"
        ]
    );
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer exd_tenant_canary")));
    assert_eq!(
        (asked[1].body.as_slice(), asked[2].body.as_slice()),
        (&br#"{"name":"a"}"#[..], &br#"{"kill_signal":true}"#[..])
    );
    assert_eq!(asked[2].header("content-type"), Some("application/json"));
}

#[test]
fn a_list_is_read_to_its_end_or_to_as_many_as_are_wanted() {
    let server = Scripted::start(|asked| match asked.line.contains("&cursor=a%2Bb") {
        false => json(200, json!({ "orgs": [1, 2], "next_cursor": "a+b" })),
        true => json(200, json!({ "orgs": [3, 4], "next_cursor": null })),
    });
    let api = ServerApi::new(server.base(), TOKEN);

    assert_eq!(block_on(api.list("gate", "orgs", 100)).unwrap(), [json!(1), json!(2), json!(3), json!(4)]);
    assert_eq!(block_on(api.list("gate", "orgs", 3)).unwrap().len(), 3);
    assert_eq!(block_on(api.list("gate", "orgs", 2)).unwrap().len(), 2);
    assert_eq!(server.asked().len(), 2 + 2 + 1);
}

#[test]
fn a_list_that_is_none_or_does_not_end_is_malformed() {
    for answer in [json!({}), json!({ "orgs": 1 }), json!({ "orgs": [], "next_cursor": "x" })] {
        let server = Scripted::start(move |_| json(200, answer.clone()));

        let error = block_on(ServerApi::new(server.base(), TOKEN).list("gate", "orgs", 10)).unwrap_err();

        assert!(matches!(error, ManifestError::Malformed(_)), "{error}");
    }
}

#[test]
fn a_refusal_says_what_the_server_says_and_nothing_shows_the_token() {
    let server = Scripted::start(|_| refusal(409, "conflict", &format!("at revision 3, {TOKEN}"), json!({})));
    let api = ServerApi::new(server.base(), TOKEN);

    let refused = block_on(api.patch("gate/acme", &json!({}))).unwrap_err();
    let nowhere = block_on(ServerApi::new("http://user:canary@127.0.0.1:1", TOKEN).get("gate")).unwrap_err();

    assert!(
        matches!(&refused, ManifestError::Server { status: 409, code, .. } if code == "conflict"),
        "{refused}"
    );
    for text in [format!("{refused} {refused:?}"), format!("{nowhere} {nowhere:?}"), format!("{api:?}")] {
        assert!(!text.contains("canary"), "{text}");
    }
}
