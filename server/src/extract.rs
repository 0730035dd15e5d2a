//! How requests are read: what does not read is a [`Problem`] that says why.

use std::{future::poll_fn, pin::pin};

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
};
use bytes::BytesMut;
use http::{HeaderMap, Uri, header, request::Parts};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use utoipa::IntoParams;
use zeroize::Zeroize;

use crate::{app::App, model::PageRequest, problem::Problem};

/// A JSON body, sent as `application/json`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "taken apart by every handler")]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = json_body(request, app).await?;
        serde_json::from_slice(&bytes).map(Json).map_err(|error| unreadable(&error))
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Reads a body where it is known already that it is worth it.
    pub(crate) async fn read(request: Request, app: &App) -> Result<T, Problem> {
        <Self as FromRequest<App>>::from_request(request, app).await.map(|Self(read)| read)
    }
}

/// A JSON body that holds a secret: what is wrong with it is not told in its own words, and it is wiped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WipedJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for WipedJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let bytes = json_body(request, app).await?;
        let read = serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::bad_request(format!("the body cannot be read, at line {line} column {column}"))
        });
        if let Ok(mut bytes) = bytes.try_into_mut() {
            bytes.zeroize();
        }
        read
    }
}

/// Reads a whole body that is sent as `application/json` and is an object, for routes that borrow from it while they parse.
///
/// # Errors
/// As [`body`], and `bad_request` for another media type.
pub async fn json_body(request: Request, app: &App) -> Result<Bytes, Problem> {
    check_media(request.headers())?;
    object(body(request, app).await?)
}

/// Reads a JSON object like [`json_body`], for routes that are reached beside the router and so bring their limit.
///
/// # Errors
/// As [`json_body`].
pub(crate) async fn json_body_within<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes> + Send,
{
    check_media(headers)?;
    object(collected(body, limit).await?)
}

fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
        return Ok(());
    }
    Err(Problem::bad_request("the body must be sent as `Content-Type: application/json`"))
}

fn object(bytes: Bytes) -> Result<Bytes, Problem> {
    // A list of the fields' values would read as well, and mean something else as soon as a field is added.
    match bytes.trim_ascii_start().first() {
        Some(b'{') => Ok(bytes),
        _ => Err(Problem::bad_request("the body must be a JSON object")),
    }
}

/// Reads a whole body. One that came in a single piece, as small ones do, is not copied.
async fn collected<B: HttpBody<Data = Bytes> + Send>(body: B, limit: usize) -> Result<Bytes, Problem> {
    let mut body = pin!(body);
    let (mut whole, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| Problem::bad_request("the body broke off"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + more.len() + piece.len() > limit {
            return Err(Problem::payload_too_large("the body is longer than this route takes"));
        }
        if whole.is_empty() && more.is_empty() {
            whole = piece;
        } else {
            more.extend_from_slice(&std::mem::take(&mut whole));
            more.extend_from_slice(&piece);
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(if more.is_empty() { whole } else { more.freeze() })
}

/// Parses a body. That it is text is checked once and not for each string in it.
pub(crate) fn parsed<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // It says where.
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// Says what is wrong with a JSON body.
#[must_use]
pub fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body cannot be read: {}", shortened(&error.to_string())))
}

/// Reads a whole body, as far as the route's limit lets it grow.
///
/// # Errors
/// `payload_too_large`, and `bad_request` for a body that breaks off.
pub async fn body(request: Request, app: &App) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(error)
            if error.status() == http::StatusCode::PAYLOAD_TOO_LARGE =>
        {
            Problem::payload_too_large("the body is longer than this route takes")
        }
        _ => Problem::bad_request("the body broke off"),
    })
}

/// The parts of the path.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "taken apart by every handler")]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, app).await;
        read.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| Problem::bad_request(shortened(&rejection.body_text())))
    }
}

/// The query.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "taken apart by every handler")]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        query(&parts.uri).map(Self)
    }
}

/// Reads the query.
///
/// # Errors
/// `bad_request`.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|rejection| Problem::bad_request(shortened(&rejection.body_text())))
}

/// Which part of a list is asked for, as the query has it.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[non_exhaustive]
pub struct PageQuery {
    /// At most this many entries.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub limit: Option<usize>,
    /// The `next_cursor` of the part before.
    #[param(max_length = 512)]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// `bad_request` for a limit out of bounds or a cursor that nobody gave out.
    pub fn page(self) -> Result<PageRequest, Problem> {
        page(self.limit, self.cursor)
    }
}

/// Checks which part of a list is asked for.
///
/// # Errors
/// `bad_request` for a limit out of bounds or a cursor that nobody gave out.
pub fn page(limit: Option<usize>, cursor: Option<String>) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(50);
    if !(1..=500).contains(&limit) {
        return Err(Problem::bad_request("`limit` must be from 1 to 500"));
    }
    if cursor.as_ref().is_some_and(|cursor| cursor.is_empty() || cursor.len() > 512) {
        return Err(Problem::bad_request("`cursor` must be what an earlier answer gave as `next_cursor`"));
    }
    Ok(PageRequest { limit, after: cursor })
}

/// Reads a field of which null takes away what is set, and which may be left out: what is there, be it null, is given.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Reads a field that may be left out, and is not null.
pub(crate) fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Keeps what a parser says, which may repeat what was sent, to a line.
fn shortened(message: &str) -> String {
    let mut shown: String = message.chars().filter(|c| !c.is_control()).take(300).collect();
    if shown.len() < message.len() && shown.chars().count() == 300 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_by_its_media_type_whatever_its_parameters() {
        let is = |value: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, http::HeaderValue::from_static(value))]))
        };

        assert!(is("application/json") && is("Application/JSON; charset=utf-8"));
        assert!(!is("text/plain") && !is("application/jsonp") && !is("") && !is_json(&HeaderMap::new()));
    }

    #[test]
    fn limits_and_cursors_have_bounds() {
        assert_eq!(page(None, None).unwrap().limit, 50);
        assert_eq!(page(Some(500), Some("a".into())).unwrap().after.as_deref(), Some("a"));
        for (limit, cursor) in
            [(Some(0), None), (Some(501), None), (None, Some(String::new())), (None, Some("x".repeat(513)))]
        {
            assert_eq!(page(limit, cursor).unwrap_err().code(), "bad_request");
        }
    }
}
