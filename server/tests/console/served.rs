//! How the console's files are served.

use crate::{house::Ground, wire};

#[tokio::test(flavor = "multi_thread")]
async fn files_need_no_token_carry_the_policy_and_are_not_sent_twice() {
    let ground = Ground::open().await;
    for path in ["/", "/console/main.js", "/console/base.css", "/console/icon.svg"] {
        let first = wire::send(ground.address(), "GET", path, &[], b"").await;
        let etag = first.header("etag").unwrap();
        let again = wire::send(ground.address(), "GET", path, &[("if-none-match", etag)], b"").await;

        assert_eq!((first.status, again.status), (200, 304), "{path}");
        assert!(!first.body.is_empty() && again.body.is_empty(), "{path}");
        let policy = first.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(first.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(first.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(first.header("cache-control"), Some("no-cache"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_console_does_not_have_is_refused_as_everywhere() {
    let ground = Ground::open().await;
    for path in ["/console/none.js", "/console/..%2fmod.rs", "/console/../mod.rs", "/console/index.html"] {
        let answer = wire::send(ground.address(), "GET", path, &[], b"").await;

        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (404, Some("not_found")),
            "{path}"
        );
    }
}
