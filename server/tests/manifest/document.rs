//! The written list of routes.

use std::collections::BTreeSet;

use crate::support::TestServer;

const WRITTEN: &str = include_str!("../../../docs/server-api.md");

#[tokio::test]
async fn the_written_list_has_every_route_of_the_document_and_no_other() {
    let server = TestServer::start().await;
    let document = server.get("/api/v1/openapi.json", "").await.json();

    let written: Vec<String> = WRITTEN
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(route, _)| route.to_owned())
        .collect();
    let served: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();

    assert_eq!(written.iter().cloned().collect::<BTreeSet<_>>(), served);
    assert_eq!(written.len(), served.len(), "a route is listed twice");
}
