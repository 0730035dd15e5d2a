//! Streams that are opened with a session.

use std::time::Duration;

use leverframe_server::settings::model::ServiceId;

use super::stage::Stage;
use crate::stage::Events;

async fn listen(stage: &Stage, session: &str) -> Events {
    let request = stage.server.http.get(stage.server.url("/v1/stream")).bearer_auth(session);
    let mut events = Events::of(request.send().await.unwrap());
    assert_eq!(events.event().await, "resync");
    events
}

#[tokio::test]
async fn a_stream_says_five_minutes_before_its_session_ends_and_ends_with_it() {
    let stage = Stage::new().await;
    let answer = stage.exchange(&stage.token()).await.json();
    let lives = Duration::from_secs(answer["expires_in"].as_u64().unwrap());
    let session = answer["session_token"].as_str().unwrap();
    let mut events = listen(&stage, session).await;

    stage.clock.advance(lives - Duration::from_secs(300));
    assert_eq!(events.event().await, "auth_expiring");
    stage.clock.advance(Duration::from_secs(300));

    while let Some(block) = events.next().await {
        assert_eq!(block, ": ping");
    }
    assert_eq!(stage.server.get("/v1/sync", session).await.status, 401);
}

#[tokio::test]
async fn a_stream_ends_when_the_service_believes_its_session_no_more() {
    let stage = Stage::new().await;
    let session = stage.session(&stage.token()).await;
    let mut events = listen(&stage, &session).await;

    let id = ServiceId::new("acme", "payments", "prod");
    stage.change(&id, |service| service.trusts[0].subject = "system:serviceaccount:other:*".to_owned()).await;

    assert_eq!(events.next().await, None);
    assert_eq!(stage.server.get("/v1/sync", &session).await.status, 401);
}
