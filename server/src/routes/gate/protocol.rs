//! What instances ask: tokens, pulses, policies. The wire is described in `docs/protocol-notes.md`, "Gate".

use std::time::{Duration, SystemTime};

use axum::{
    Json as Answer,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::rfc3339;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::{App, bearer_of},
    extract::{self, Path},
    gate::{self, Claims, Client, Known, TOKEN_VALID_FOR, millis, model::Verdict},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(token))
        .routes(routes!(pulse))
        .routes(routes!(policy))
        // Clients whose base URL ends with a slash ask like this.
        .route("//v1/auth/token", post(token))
        .route("//v1/pulse", post(pulse))
        .route("//v1/policy/{org}", get(policy))
}

/// The clock of whoever signs may be off by this much. A pulse is also remembered for longer than that.
const SKEW: Duration = Duration::from_secs(300);
/// Bytes of a secret key: more than twice what ours have.
const LONGEST_SECRET: usize = 256;

const ID: &str = "x-waitstate-id";
const SIGNATURE: &str = "x-waitstate-signature";
const TIMESTAMP: &str = "x-waitstate-timestamp";
/// By which clients say that they take `throttle`.
const OURS: &str = "x-leverframe-gate";

/// A pair of keys.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Keys {
    publish_key: String,
    secret_key: String,
}

/// A token to ask for policies with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    token: String,
    /// When it stops being valid, in milliseconds since 1970.
    expires_at: u64,
    /// The organisation that it is for.
    org_id: String,
}

/// Issues a token to ask for policies with, for whoever has a gate key's secret.
///
/// The path may begin with a doubled slash.
#[utoipa::path(
    post, path = "/v1/auth/token", tag = "gate", security(("gate_key" = [])), request_body = Keys,
    responses((status = 200, description = "It is valid for an hour, or until the key is revoked", body = TokenAnswer), Refusals)
)]
async fn token(
    State(app): State<App>,
    info: RequestInfo,
    request: Request,
) -> Result<Answer<TokenAnswer>, Problem> {
    let body = extract::body(request, &app).await?;
    // What a parser says may repeat what was sent.
    let keys: Option<Keys> =
        body.trim_ascii_start().starts_with(b"{").then(|| extract::parsed(&body).ok()).flatten();
    let Some(Keys { publish_key, secret_key }) = keys else {
        return Err(Problem::bad_request("the body must be an object with `publishKey` and `secretKey`"));
    };
    let known = known(&app, &info, &publish_key).await?;
    let proven = known.filter(|known| secret_key.len() <= LONGEST_SECRET && known.has_secret(&secret_key));
    let Some(known) = proven else { return Err(refused(&app, &info)) };
    let expires_at = millis(info.wall() + TOKEN_VALID_FOR);
    let claims = Claims {
        org: known.key.org.clone(),
        site: known.key.site.clone(),
        publish_key,
        expires_at_ms: expires_at,
        id: app.next_id(),
    };
    let signer = app.hub().signer().await?;
    Ok(Answer(TokenAnswer { token: claims.sign(&signer), expires_at, org_id: claims.org }))
}

/// Counts what an instance did since its last report, and answers with the policy of its site.
///
/// Signed with a gate key's secret: `x-waitstate-signature` is the hex HMAC-SHA256 of the body, a dot and
/// `x-waitstate-timestamp`, which may be off by five minutes. Unless the answer is 200, nothing was counted. A pulse
/// with the `pulseId` of one that is counted is answered alike and not counted again; one with the `ts` of an earlier
/// one of the instance is refused. The path may begin with a doubled slash.
#[utoipa::path(
    post, path = "/v1/pulse", tag = "gate", security(("gate_key" = [])),
    request_body(content = Object, content_type = "application/json", description = "The pulse"),
    params(
        ("x-waitstate-id" = String, Header, description = "The publish key"),
        ("x-waitstate-timestamp" = String, Header, description = "The time in milliseconds since 1970"),
        ("x-waitstate-signature" = String, Header, description = "64 hex digits"),
        ("x-leverframe-gate" = Option<String>, Header, description = "`1` if the client takes `throttle`"),
    ),
    responses(
        (status = 200, description = "It is counted; the policy", body = Object),
        (status = 409, description = "The instance has sent one of the same time before", body = crate::problem::Envelope),
        Refusals
    )
)]
async fn pulse(State(app): State<App>, info: RequestInfo, request: Request) -> Response {
    let answered = count(&app, &info, request).await;
    let outcome = match &answered {
        Ok((Verdict::CountedBefore, _)) => "counted_before",
        Ok(_) => "counted",
        Err(problem) => problem.code(),
    };
    app.metrics().gate.pulse(outcome);
    match answered {
        Ok((_, response)) => response,
        // So that whoever has the wrong time can tell.
        Err(problem) if problem.code() == SKEWED => {
            ([(header::DATE, http_date(info.wall()))], problem).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

const SKEWED: &str = "clock_skew";

async fn count(app: &App, info: &RequestInfo, request: Request) -> Result<(Verdict, Response), Problem> {
    let headers = request.headers();
    let text = |name: &str| one(headers, name).unwrap_or_default().to_owned();
    let (publish_key, signature, timestamp) = (text(ID), text(SIGNATURE), text(TIMESTAMP));
    let knows_throttle = is_ours(headers);
    let Some(known) = known(app, info, &publish_key).await? else { return Err(refused(app, info)) };
    // Read after it is known who says to have sent it, and parsed after it is known that they did.
    let body = extract::body(request, app).await?;
    let at = Some(&timestamp).filter(|text| text.len() <= 20).and_then(|text| text.parse::<u64>().ok());
    let Some(at) = at.filter(|_| known.has_signed(&body, &timestamp, &signature)) else {
        return Err(refused(app, info));
    };
    let now_ms = millis(info.wall());
    if u128::from(at.abs_diff(now_ms)) > SKEW.as_millis() {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            SKEWED,
            "the pulse was signed at a time that is more than five minutes off; set the clock of the machine",
        )
        .with("server_time_ms", now_ms));
    }
    let pulse = gate::read_pulse(&known.key, &body)?;
    let instance = pulse.instance.clone();
    let (verdict, view) = app.gate().pulse(pulse, body.len()).await?;
    if verdict == Verdict::Replayed {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "replayed",
            "the instance has sent a pulse of this time before; it is not counted again",
        ));
    }
    let client = Client { knows_throttle, instance: &instance, now_ms };
    Ok((verdict, json(view.told(&client))))
}

/// Returns the policy of an organisation: of the site that the token's key is bound to, or else the strictest of all its
/// sites.
///
/// With a token of `/v1/auth/token`. The path may begin with a doubled slash.
#[utoipa::path(
    get, path = "/v1/policy/{org}", tag = "gate", security(("gate_token" = [])),
    params(
        ("org" = String, Path, description = "The organisation"),
        ("x-leverframe-gate" = Option<String>, Header, description = "`1` if the client takes `throttle`"),
    ),
    responses((status = 200, description = "The policy", body = Object), Refusals)
)]
async fn policy(
    State(app): State<App>,
    info: RequestInfo,
    headers: HeaderMap,
    Path(org): Path<String>,
) -> Result<Response, Problem> {
    let signer = app.hub().signer().await?;
    let claims = bearer_of(&headers).and_then(|token| Claims::read(token, &signer, info.wall()));
    let Some(claims) = claims else { return Err(refused(&app, &info)) };
    let Some(known) = known(&app, &info, &claims.publish_key).await? else {
        return Err(refused(&app, &info));
    };
    if claims.org != org || known.key.org != org {
        return Err(Problem::forbidden("the token is for another organisation"));
    }
    let client =
        Client { knows_throttle: is_ours(&headers), instance: &claims.id, now_ms: millis(info.wall()) };
    Ok(json(app.gate().policy(&org, claims.site.as_deref(), &client).await?))
}

/// Finds a live key. Whoever names one that is not at hand may be guessing.
async fn known(
    app: &App,
    info: &RequestInfo,
    publish_key: &str,
) -> Result<Option<std::sync::Arc<Known>>, Problem> {
    if !app.gate().keys.has(publish_key) {
        app.doubt_stranger(info)?;
    }
    Ok(app.gate().keys.live(app.store(), publish_key, info.begun()).await?)
}

/// Which of key, secret, signature and token is wrong is nobody's business.
fn refused(app: &App, info: &RequestInfo) -> Problem {
    app.metrics().unauthenticated.add(1);
    // Guessing at a key that is at hand is guessing as well.
    app.doubt_stranger(info).err().unwrap_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "the gate key, its signature or its token is not valid",
        )
    })
}

/// Returns the only value of a header.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

fn is_ours(headers: &HeaderMap) -> bool {
    one(headers, OURS) == Some("1")
}

fn json(body: bytes::Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// Writes a time as headers have it.
fn http_date(time: SystemTime) -> HeaderValue {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = rfc3339(time);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let day = DAYS[usize::try_from(millis(time) / 86_400_000 % 7).unwrap_or(0)];
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    let month = month.copied().unwrap_or_default();
    let date = format!("{day}, {} {month} {} {} GMT", part(8, 10), part(0, 4), part(11, 19));
    HeaderValue::from_str(&date).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_headers_have_them() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
