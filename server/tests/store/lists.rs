//! Lists: their order, their parts, what they are narrowed by.

use leverframe::ErrorKind;
use leverframe_server::{
    model::{AuditEvent, Page, PageRequest, TokenRecord, TokenType},
    store::TokenQuery,
};

use crate::{
    conformance::on_every_engine,
    place::{Place, accepted, at, namespace, tenant, version},
};

on_every_engine!(
    tenants_are_listed_by_slug_part_by_part,
    namespaces_are_listed_by_tenant_and_slug,
    versions_are_listed_newest_first,
    tokens_are_listed_by_what_they_are_bound_to_and_whether_they_are_live,
    the_audit_log_is_listed_newest_first_of_one_tenant_or_of_all,
    a_cursor_that_no_list_gave_is_invalid,
);

/// Walks a list in parts of two.
macro_rules! walk {
    ($list:expr, $key:expr) => {{
        let mut page = PageRequest::first(2);
        let mut keys = Vec::new();
        loop {
            let part: Page<_> = $list(page.clone()).await.unwrap();
            assert!(part.items.len() <= 2);
            keys.extend(part.items.iter().map($key));
            let Some(next) = part.next else { break };
            assert_eq!(part.items.len(), 2);
            page = PageRequest::after(2, next);
        }
        keys
    }};
}

async fn tenants_are_listed_by_slug_part_by_part(place: Place) {
    let store = place.open().await;
    // Orders differ between languages here: the hyphen counts, everywhere.
    for slug in ["ab", "b", "a-c", "a", "a-b"] {
        store.create_tenant(&tenant(slug)).await.unwrap();
    }

    let slugs = walk!(async |page| store.tenants(&page).await, |tenant| tenant.slug.clone());

    assert_eq!(slugs, ["a", "a-b", "a-c", "ab", "b"]);
}

async fn namespaces_are_listed_by_tenant_and_slug(place: Place) {
    let store = place.open().await;
    for owner in ["b", "a"] {
        store.create_tenant(&tenant(owner)).await.unwrap();
        for slug in ["z", "x", "y"] {
            store.create_namespace(&namespace(owner, slug)).await.unwrap();
        }
    }
    let key = |found: &leverframe_server::model::NamespaceRecord| format!("{}/{}", found.tenant, found.slug);

    let all = walk!(async |page| store.namespaces(None, &page).await, key);
    let of_one = walk!(async |page| store.namespaces(Some("b"), &page).await, key);

    assert_eq!(all, ["a/x", "a/y", "a/z", "b/x", "b/y", "b/z"]);
    assert_eq!(of_one, ["b/x", "b/y", "b/z"]);
}

async fn versions_are_listed_newest_first(place: Place) {
    let store = place.open().await;
    store.create_tenant(&tenant("acme")).await.unwrap();
    store.create_namespace(&namespace("acme", "payments")).await.unwrap();
    for content in ["a", "b", "c", "d", "e"] {
        accepted(store.put_version("acme", "payments", &version(content, None), at(2)).await.unwrap());
    }

    let listed = walk!(async |page| store.versions("acme", "payments", &page).await, |record| record.version);

    assert_eq!(listed, [5, 4, 3, 2, 1]);
}

async fn tokens_are_listed_by_what_they_are_bound_to_and_whether_they_are_live(place: Place) {
    let store = place.open().await;
    for owner in ["acme", "other"] {
        store.create_tenant(&tenant(owner)).await.unwrap();
        store.create_namespace(&namespace(owner, "payments")).await.unwrap();
    }
    let mut number = 0;
    for (kind, owner, in_namespace, expires) in [
        (TokenType::Superadmin, None, false, None),
        (TokenType::TenantAdmin, Some("acme"), false, Some(at(10))),
        (TokenType::NamespaceRead, Some("acme"), true, None),
        (TokenType::NamespaceRead, Some("other"), true, Some(at(5))),
        (TokenType::NamespaceWrite, Some("acme"), true, None),
    ] {
        number += 1;
        let mut token = TokenRecord::new(format!("tok_{number}"), kind, at(0));
        token.tenant = owner.map(str::to_owned);
        token.namespace = in_namespace.then(|| "payments".to_owned());
        token.expires_at = expires;
        store.create_token(&token, &[number; 32]).await.unwrap();
    }
    store.revoke_token("tok_5", at(4)).await.unwrap();
    let list = async |change: fn(&mut TokenQuery)| {
        let mut query = TokenQuery::default();
        change(&mut query);
        walk!(async |page| store.tokens(&query, &page).await, |token: &TokenRecord| token.id.clone())
    };

    assert_eq!(list(|_| {}).await, ["tok_1", "tok_2", "tok_3", "tok_4", "tok_5"]);
    assert_eq!(list(|query| query.tenant = Some("acme".to_owned())).await, ["tok_2", "tok_3", "tok_5"]);
    assert_eq!(
        list(|query| query.namespace = Some("payments".to_owned())).await,
        ["tok_3", "tok_4", "tok_5"]
    );
    assert_eq!(list(|query| query.kind = Some(TokenType::NamespaceRead)).await, ["tok_3", "tok_4"]);
    // Expired at the very moment, and revoked, are not live.
    assert_eq!(list(|query| query.live_at = Some(at(5))).await, ["tok_1", "tok_2", "tok_3"]);
    assert_eq!(list(|query| query.live_at = Some(at(10))).await, ["tok_1", "tok_3"]);
}

async fn the_audit_log_is_listed_newest_first_of_one_tenant_or_of_all(place: Place) {
    let store = place.open().await;
    let mut events = Vec::new();
    for (number, owner) in
        [(1, Some("acme")), (2, None), (3, Some("other")), (4, Some("acme")), (5, Some("acme"))]
    {
        // Times may go back; the order is that of the writing.
        let mut event = AuditEvent::new(at(100 - number), format!("action {number}"), "acme/payments");
        event.tenant = owner.map(str::to_owned);
        event.request_id = format!("request {number}");
        event.principal = "tok_1".to_owned();
        event.outcome = "forbidden".to_owned();
        event.detail = "version 3".to_owned();
        store.record(&event).await.unwrap();
        events.push(event);
    }
    let key = |event: &AuditEvent| event.action.clone();

    let mut strange = AuditEvent::new(at(0), "action 0", "");
    // Longer than any, and of no pattern: nothing that an index could hold.
    let letter = |number: u32| char::from_u32(97 + (number.wrapping_mul(2_654_435_761) >> 13) % 26).unwrap();
    strange.tenant = Some((0..9000).map(letter).collect());
    store.record(&strange).await.unwrap();

    let all = walk!(async |page| store.audit(None, &page).await, key);
    let of_one = walk!(async |page| store.audit(Some("acme"), &page).await, key);

    assert_eq!(all, ["action 0", "action 5", "action 4", "action 3", "action 2", "action 1"]);
    assert_eq!(of_one, ["action 5", "action 4", "action 1"]);
    assert_eq!(store.audit(None, &PageRequest::first(2)).await.unwrap().items[1], events[4]);
}

async fn a_cursor_that_no_list_gave_is_invalid(place: Place) {
    let store = place.open().await;
    let page = PageRequest::after(2, "not one of ours");

    let refused = [
        store.tenants(&page).await.map(drop),
        store.namespaces(None, &page).await.map(drop),
        store.versions("acme", "payments", &page).await.map(drop),
        store.tokens(&TokenQuery::default(), &page).await.map(drop),
        store.audit(None, &page).await.map(drop),
    ];

    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
