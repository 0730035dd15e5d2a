//! Every transport that speaks HTTP against real peers, good and bad; one suite for all.
//!
//! A transport joins with a function that makes it from its settings and one line of `suite!`.
#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

#[path = "transports/answers.rs"]
mod answers;
#[path = "transports/ask.rs"]
mod ask;
#[path = "transports/bounds.rs"]
mod bounds;
#[path = "transports/curl_cli_only.rs"]
mod curl_cli_only;
#[path = "transports/curls.rs"]
mod curls;
#[path = "transports/faults.rs"]
mod faults;
#[path = "transports/lifecycle.rs"]
mod lifecycle;
#[path = "transports/proxies.rs"]
mod proxies;
#[path = "support/real/mod.rs"]
mod real;
#[path = "transports/redirects.rs"]
mod redirects;
#[cfg(feature = "http-in-process")]
#[path = "transports/reqwest_only.rs"]
mod reqwest_only;
#[path = "transports/trust.rs"]
mod trust;

/// Makes one test of every case for a transport, and those of the conformance kit.
macro_rules! suite {
    ($module:ident, $make:path; $($group:ident: [$($case:ident),+ $(,)?];)+) => {
        mod $module {
            mod kit {
                use std::sync::Arc;

                use leverframe::{testing::conformance::transport::Fixture, traits::Transport};

                fn fixture() -> Fixture<Arc<dyn Transport>> {
                    crate::ask::fixture($make)
                }

                leverframe::transport_conformance!(clauses, fixture);
            }
            $(
                mod $group {
                    $(
                        #[test]
                        fn $case() {
                            crate::$group::$case($make);
                        }
                    )+
                }
            )+
        }
    };
    ($module:ident, $make:path) => {
        suite! {
            $module, $make;
            answers: [
                plain_http, tls, http2_is_negotiated, http1_where_http2_is_off, every_status_is_a_response,
                retry_after_arrives, unchanged_is_304, large_bodies_arrive_whole, head_has_no_body, posts_arrive,
                user_agent_is_sent, bearer_token, basic_credentials, user_info_becomes_basic_credentials,
                explicit_credentials_win, gzip_is_asked_for_and_decoded, gzip_can_be_off, queries_arrive,
            ];
            bounds: [
                the_limit_itself_is_allowed, one_byte_more_is_not, gzip_bomb, endless_body, slow_body, slow_head,
                silent_peer, silent_tls_peer, endless_head, quick_but_endless_body_meets_the_deadline,
                a_passed_deadline_is_a_timeout,
            ];
            faults: [
                promised_more_than_sent, promised_less_than_sent, cut_between_chunks, reset_before_the_head,
                reset_in_the_body, closed_before_the_head, two_lengths, no_http_at_all, damaged_gzip, cut_gzip,
                refused_connection, unknown_host, other_schemes,
            ];
            lifecycle: [
                inside_a_runtime_of_one_thread, inside_a_runtime_of_many_threads, inside_spawn_blocking,
                without_a_runtime, many_at_once, dropping_the_body_ends_the_exchange,
                dropping_the_future_ends_the_exchange, close_ends_what_is_running, idle_connections_are_let_go, a_body_outlives_its_transport,
            ];
            proxies: [plain_requests, tunnels, socks5, password_in_the_proxy_url, refusing_proxy, absent_proxy, none_at_all];
            redirects: [
                five_are_followed, six_are_not, loops_end, the_same_origin_keeps_credentials,
                another_port_loses_credentials, another_host_loses_credentials, never_from_tls_to_plain,
                never_to_files, posts_are_not_redirected,
                none_is_followed_where_none_is_wanted,
            ];
            trust: [
                no_authority, wrong_authority, expired_certificate, certificate_for_another_host,
                tls_1_2_and_1_3_and_nothing_older, plain_peer_on_a_tls_uri,
                client_certificate, no_client_certificate, wrong_client_certificate, missing_files, useless_files,
                half_a_client_certificate, no_secret_in_any_error,
            ];
        }
    };
}

#[cfg(feature = "http-in-process")]
suite!(reqwest, crate::ask::reqwest);

#[cfg(feature = "transport-curl")]
suite!(curl, crate::ask::curl);

suite!(curl_cli, crate::ask::curl_cli);
