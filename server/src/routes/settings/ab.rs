//! Flags for single users.

use std::collections::BTreeMap;

use axum::{
    Json as Answer,
    extract::{Request, State},
};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    extract::Json,
    problem::{Problem, Refusals},
    request::RequestInfo,
    settings::Caller,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(evaluate))
}

/// Keys of one request.
const MOST_KEYS: usize = 200;
/// Bytes of a user's id.
const LONGEST_ID: usize = 1_024;

/// Which flags, for whom.
#[derive(Debug, Deserialize, ToSchema)]
struct AbQuestion {
    #[schema(min_items = 1, max_items = 200)]
    keys: Vec<String>,
    #[schema(max_length = 1024)]
    user_id: String,
    /// Texts.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    attributes: BTreeMap<String, Value>,
}

/// Which of them are on.
#[derive(Debug, Serialize, ToSchema)]
struct AbAnswer {
    /// Every key that was asked for; those that there are not are off.
    results: BTreeMap<String, bool>,
}

/// Says whether flags are on for a user.
///
/// A flag that is on is on for a user whom one of its rules holds for, if it has any, and whose bucket (that of manifests,
/// with the flag's key for the salt) is within its share. For every key and session.
#[utoipa::path(
    post, path = "/v1/flags/evaluate-ab", tag = "settings",
    security(("settings_key" = []), ("settings_session" = [])), request_body = AbQuestion,
    responses((status = 200, description = "Which are on", body = AbAnswer), Refusals)
)]
async fn evaluate(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Result<Answer<AbAnswer>, Problem> {
    let caller = Caller::of(&app, &headers, &uri, &info).await?;
    if !caller.view.service().ab_enabled {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "ab_addon_not_active",
            "the service evaluates no flags for single users",
        ));
    }
    let asked: AbQuestion = Json::read(request, &app).await?;
    if !(1..=MOST_KEYS).contains(&asked.keys.len()) {
        return Err(Problem::bad_request(format!("`keys` must have 1 to {MOST_KEYS} entries")));
    }
    if asked.user_id.len() > LONGEST_ID {
        return Err(Problem::bad_request(format!("`user_id` has at most {LONGEST_ID} bytes")));
    }
    let attributes: Option<Vec<(&str, &str)>> =
        asked.attributes.iter().map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
    let attributes = attributes.ok_or_else(|| Problem::bad_request("`attributes` must be texts"))?;
    app.metrics().evaluations.add(asked.keys.len() as u64);
    let keys = asked.keys.iter().map(String::as_str);
    let results = caller.view.evaluate(keys, &asked.user_id, &attributes, info.wall());
    let results = results.into_iter().map(|(key, is_on)| (key.to_owned(), is_on)).collect();
    Ok(Answer(AbAnswer { results }))
}
