//! Who is connected, for the console.

use leverframe_server::model::TokenType;

use crate::{
    sse::Request,
    stage::{Stage, flag, start, until, with},
};

const PATH: &str = "/api/v1/tenants/acme/namespaces/payments/clients";

#[tokio::test]
async fn readers_are_listed_with_who_they_are_and_where_they_are() {
    let stage = Stage::new().await;
    stage.upload("payments", &start("payments")).await;
    let address = stage.server.running.address();
    let query = "/api/v1/events?ns=payments:pay&ns=search";
    let mut reader = Request::new(query, &stage.token).header("User-Agent", "shop/1.0").open(address).await;
    reader.event().await;
    let mut other = stage.read("ns=payments").await;
    other.event().await;

    let answer = stage.server.get(PATH, &stage.token).await.json();

    assert_eq!(answer["version"], 1);
    assert!(answer["next_cursor"].is_null() && answer["request_id"].is_string());
    let clients = answer["clients"].as_array().unwrap();
    assert_eq!(clients.len(), 2);
    assert_eq!(clients[0]["token"]["id"], stage.token_id.as_str());
    assert_eq!(
        (&clients[0]["user_agent"], &clients[1]["user_agent"]),
        (&"shop/1.0".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&clients[0]["flags"], &clients[1]["flags"]),
        (&serde_json::json!(["pay"]), &serde_json::Value::Null)
    );
    assert_eq!(clients[0]["address"], "127.0.0.1");
    assert!(clients[0]["connected_at"].as_str().unwrap().ends_with('Z'));
    for client in clients {
        assert_eq!(
            (&client["delivered_version"], &client["versions_behind"], &client["queued"]),
            (&1.into(), &0.into(), &0.into())
        );
    }
    assert!(!answer.to_string().contains(&stage.token));

    // The first reader is not concerned, and not behind.
    stage.upload("payments", &with(&start("payments"), "flags/ship.toml", flag("two", &[]))).await;
    assert_eq!(other.event().await.version().version, 2);
    let answer = stage.server.get(PATH, &stage.token).await.json();
    assert_eq!(answer["version"], 2);
    assert_eq!(
        (&answer["clients"][0]["delivered_version"], &answer["clients"][0]["versions_behind"]),
        (&1.into(), &0.into())
    );
    assert_eq!(answer["clients"][1]["delivered_version"], 2);
}

#[tokio::test]
async fn the_list_comes_in_parts_and_only_to_those_who_manage() {
    let stage = Stage::new().await;
    let (_, read) = stage.server.mint(TokenType::NamespaceRead, "acme/payments").await;
    let (_, write) = stage.server.mint(TokenType::NamespaceWrite, "acme/payments").await;
    let (_, rival) = stage.server.mint(TokenType::TenantAdmin, "rival").await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(stage.read_as("ns=payments", &read).await);
    }
    let hub = stage.server.running.app().hub();
    until(|| hub.open_streams() == 5).await;

    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = stage.server.get(&format!("{PATH}?limit=2{cursor}"), &write).await.json();
        seen.extend(
            answer["clients"].as_array().unwrap().iter().map(|client| client["id"].as_u64().unwrap()),
        );
        let Some(next) = answer["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted());
    for (token, status) in [(&read, 403), (&rival, 403), (&stage.token, 200), (&stage.server.root, 200)] {
        assert_eq!(stage.server.get(PATH, token).await.status, status);
    }
    assert_eq!(stage.server.get(&format!("{PATH}?cursor=x"), &write).await.status, 400);
    assert_eq!(stage.server.get(&PATH.replace("payments", "unknown"), &stage.token).await.status, 404);
}
