//! A group over two namespaces of the real server.

use std::{sync::Arc, time::Duration};

use leverframe::{
    EvalContext, ExdClientGroup, backends::clock_system::SystemClock, testing::ManualClock, traits::Clock,
};
use leverframe_server::model::TokenType;

use crate::{
    following::{address, files, upload},
    proxy::Proxy,
    support::TestServer,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_serves_two_namespaces_across_a_reconnect() {
    let server = TestServer::start().await;
    for slug in ["payments", "search"] {
        upload(&server, slug, &files(slug, 1)).await;
    }
    let (_, token) = server.mint(TokenType::TenantAdmin, "acme").await;
    let proxy = Proxy::before(address(&server)).await;
    let clock = ManualClock::new();
    let group = ExdClientGroup::builder()
        .server(proxy.url())
        .api_token(token)
        .member("payments", "production")
        .member_with_flags("search", "production", ["limit"])
        .clock(Arc::new(clock.clone()))
        .build()
        .await
        .unwrap();
    let limit = |slug| group.client(slug).unwrap().int_flag_sync("limit", &EvalContext::new(), -1);

    for (slug, number) in [("search", 2), ("payments", 3)] {
        upload(&server, slug, &files(slug, number)).await;
        until(&clock, &format!("state {number} of {slug}"), || limit(slug) == number).await;
    }
    assert_eq!((proxy.asked("/events").len(), proxy.asked("/closure").len()), (1, 2));
    let lost = || group.client("search").unwrap().status().stream.unwrap().connected_since.is_none();
    proxy.cut();
    until(&clock, "loss of the stream", lost).await;
    clock.advance(Duration::from_secs(2));
    until(&clock, "another stream", || !lost()).await;

    assert!(proxy.asked("/events")[1].contains("last-event-id: payments=2,search=2\r\n"));
    upload(&server, "search", &files("search", 4)).await;
    until(&clock, "state 4 of search", || limit("search") == 4).await;
    group.close().await.unwrap();
}

async fn until(clock: &ManualClock, what: &str, reached: impl Fn() -> bool) {
    let system = SystemClock::new();
    let end = system.now() + Duration::from_secs(30);
    let lull = Duration::from_millis(20);
    while !reached() {
        assert!(system.now() < end, "no {what}");
        // A feed that was told for nothing holds still for this long.
        if clock.deadlines().contains(&(clock.now() + lull)) {
            clock.advance(lull);
        }
        tokio::task::yield_now().await;
    }
}
