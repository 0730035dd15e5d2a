use serde_json::Value;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_answer_of_every_route() {
    let server = TestServer::start().await;

    let answer = server.get("/api/v1/openapi.json", "").await;

    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{what}: summary");
            assert!(operation["tags"][0].is_string(), "{what}: tag");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with(['2', '5'])), "{what}");
            let needs_token = operation["security"][0].as_object().is_some_and(|need| !need.is_empty());
            assert_eq!(needs_token, responses.contains_key("401") && !path.starts_with("/metrics"), "{what}");
            for parameter in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
                let documented = operation["parameters"].as_array().is_some_and(|parameters| {
                    parameters
                        .iter()
                        .any(|p| p["name"] == parameter && p["in"] == "path" && p["required"] == true)
                });
                assert!(documented, "{what}: `{parameter}`");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_in_the_document_leads_somewhere() {
    let server = TestServer::start().await;
    let document = server.get("/api/v1/openapi.json", "").await.json();
    let mut found = Vec::new();
    references(&document, &mut found);

    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "$ref" => found.push(text.clone()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
