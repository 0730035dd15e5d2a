//! Settings: what clients ask with a key or a session of a service, and what operators do with their tokens.

use axum::{extract::DefaultBodyLimit, middleware, response::Response};
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;

use super::manifest::number;
use crate::{app::App, problem::Problem, settings::Precondition};

mod ab;
pub(crate) mod configs;
mod entries;
mod exchange;
mod flags;
mod operators;
pub(crate) mod secrets;
mod stream;
mod sync;

pub(super) fn routes() -> OpenApiRouter<App> {
    // Values are larger than what else operators send.
    protocol().merge(operators::routes().layer(DefaultBodyLimit::max(entries::BODY)))
}

/// What clients ask. Refusals are written as they expect them.
fn protocol() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(sync::routes())
        .merge(stream::routes())
        .merge(secrets::routes())
        .merge(configs::routes())
        .merge(flags::routes())
        .merge(ab::routes())
        .merge(exchange::routes())
        .layer(middleware::map_response(flattened))
}

async fn flattened(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response.extensions_mut().insert(problem.flat());
    }
    response
}

const IF_VERSION: HeaderName = HeaderName::from_static("if-version");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Characters of an idempotency key.
const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// Reads under which conditions whoever has this id writes.
pub(crate) fn precondition(headers: &HeaderMap, by: &str) -> Result<Precondition, Problem> {
    let if_version = number(headers, &IF_VERSION).map_err(Problem::bad_request)?;
    let mut keys = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let request = match (keys.next(), keys.next()) {
        (None, _) => None,
        (Some(key), None) if (1..=LONGEST_IDEMPOTENCY_KEY).contains(&key.len()) => {
            let mut digest = Sha256::new_with_prefix(by);
            digest.update(b"\n");
            digest.update(key);
            Some(digest.finalize().into())
        }
        _ => {
            return Err(Problem::bad_request(format!(
                "`Idempotency-Key` has to be one text of at most {LONGEST_IDEMPOTENCY_KEY} characters"
            )));
        }
    };
    Ok(Precondition { if_version, request })
}
