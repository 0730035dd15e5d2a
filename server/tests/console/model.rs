//! The typed model that the console draws.

use serde_json::json;

use crate::{
    house::{Ground, payments},
    wire,
};

const MODEL: &str = "tenants/acme/namespaces/payments/manifest/model";

#[tokio::test(flavor = "multi_thread")]
async fn the_model_says_what_the_manifest_says() {
    let ground = Ground::open().await;
    ground.namespace("payments").await;
    ground.upload("payments", &payments()).await;

    let model = ground.must("GET", MODEL, None).await;

    assert_eq!(model["version"], 1);
    let names: Vec<_> = model["environments"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["development", "staging", "production"]);
    assert_eq!(
        (model["flags"].as_array().unwrap().len(), model["segments"].as_array().unwrap().len()),
        (16, 12)
    );
    let find = |list: &str, key: &str| {
        model[list].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
    };
    let flag = find("flags", "chargeback-evidence");
    assert_eq!(
        (&flag["type"], &flag["lifecycle"], &flag["owner"]),
        (&json!("string"), &json!("active"), &json!("risk"))
    );
    assert_eq!(
        flag["catch_all"]["rules"][0],
        json!({"description": "", "variant": "automatic", "audience": {"predicate": {"all": [
            {"test": {"attribute": "account.chargebacks", "op": "gt", "operands": [{"type": "int", "text": "10"}]}},
            {"not": {"segment": "flagged-by-risk"}},
        ]}}})
    );
    let gated = find("flags", "crypto-settlement");
    assert_eq!(
        (&gated["environments"][0]["name"], &gated["environments"][0]["testing"]),
        (&json!("production"), &json!(true))
    );
    assert_eq!(
        find("segments", "instant-payout-tenth")["bucket"],
        json!({"entity_id_attribute": "merchant.id", "salt": "instant-payout", "start": 0, "end": 999})
    );
    let types = model["attributes"].as_array().unwrap();
    assert!(types.contains(&json!({"name": "account.chargebacks", "type": "int"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_304_for_whoever_has_the_version_and_a_part_for_whoever_names_files() {
    let ground = Ground::open().await;
    ground.namespace("payments").await;
    assert_eq!(ground.call(&ground.admin, "GET", MODEL, None).await.status, 404);
    ground.upload("payments", &payments()).await;

    let whole = ground.call(&ground.admin, "GET", MODEL, None).await;
    let authorization = format!("Bearer {}", ground.admin);
    let headers =
        [("authorization", authorization.as_str()), ("if-none-match", whole.header("etag").unwrap())];
    let again = wire::send(ground.address(), "GET", &format!("/api/v1/{MODEL}"), &headers, b"").await;
    let part = "?paths=flags/chargeback-evidence.toml,segments/eea.toml,flags/none.toml";
    let part = ground.must("GET", &format!("{MODEL}{part}"), None).await;

    assert_eq!((whole.header("etag"), again.status), (Some("\"v1\""), 304));
    let keys =
        |list: &str| part[list].as_array().unwrap().iter().map(|one| one["key"].clone()).collect::<Vec<_>>();
    assert_eq!((keys("flags"), keys("segments")), (vec![json!("chargeback-evidence")], vec![json!("eea")]));
    let many = (0..101).map(|at| format!("flags/a{at}.toml")).collect::<Vec<_>>().join(",");
    assert_eq!(ground.call(&ground.admin, "GET", &format!("{MODEL}?paths={many}"), None).await.status, 400);
    assert_eq!(ground.call(&ground.admin, "GET", &format!("{MODEL}?path=a"), None).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_for_those_who_may_read_the_manifest() {
    let ground = Ground::open().await;
    ground.namespace("payments").await;
    ground.namespace("other").await;
    ground.upload("payments", &payments()).await;
    let mut seen = Vec::new();
    for (kind, namespace) in [
        ("namespace_read", Some("payments")),
        ("namespace_write", Some("payments")),
        ("tenant_admin", None),
        ("namespace_client", Some("payments")),
        ("namespace_read", Some("other")),
    ] {
        let token = ground.token(kind, namespace).await;
        seen.push(ground.call(&token, "GET", MODEL, None).await.status);
    }

    assert_eq!(seen, [200, 200, 200, 403, 403]);
    assert_eq!(ground.call("exd_read_nobody", "GET", MODEL, None).await.status, 401);
}
