//! Secrets, by whoever has a secret key of the service.

use axum::{
    Json as Answer,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
};
use http::{HeaderMap, StatusCode, Uri};
use leverframe::Secret;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::entries::{BODY, SettingWritten, Writer};
use crate::{
    app::App,
    extract::{Path, Query, WipedJson},
    problem::{Problem, Refusals},
    request::RequestInfo,
    settings::{
        ChangeRequest,
        model::{EntryKind, SecretForm},
    },
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post)).routes(routes!(delete)).layer(DefaultBodyLimit::max(BODY))
}

/// What a secret is.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SecretType {
    #[default]
    Text,
    File,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SecretEncoding {
    #[default]
    Utf8,
    Base64,
}

impl SecretType {
    fn form(self, encoding: SecretEncoding) -> Result<SecretForm, Problem> {
        match (self, encoding) {
            (Self::Text, SecretEncoding::Utf8) => Ok(SecretForm::Text),
            (Self::File, SecretEncoding::Utf8) => Ok(SecretForm::File),
            (Self::File, SecretEncoding::Base64) => Ok(SecretForm::FileBase64),
            (Self::Text, SecretEncoding::Base64) => {
                Err(Problem::bad_request("`encoding` is for files: a text is handed out as it is"))
            }
        }
    }
}

/// A secret as it is written, without its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretWrite {
    #[schema(value_type = String)]
    value: Secret,
    #[serde(default)]
    r#type: SecretType,
    #[serde(default)]
    encoding: SecretEncoding,
}

impl TryFrom<SecretWrite> for ChangeRequest {
    type Error = Problem;

    fn try_from(secret: SecretWrite) -> Result<Self, Problem> {
        let SecretWrite { value, r#type, encoding } = secret;
        Ok(Self::Secret { form: r#type.form(encoding)?, value })
    }
}

/// A secret as clients write it.
#[derive(Debug, Deserialize, ToSchema)]
struct NewSecret {
    /// Its name.
    key: String,
    #[schema(value_type = String)]
    value: Secret,
    /// A file is handed out as one.
    #[serde(default)]
    r#type: SecretType,
    /// How a file is written.
    #[serde(default)]
    encoding: SecretEncoding,
}

/// Writes a version of a secret, whether there is one or not.
///
/// For secret keys and sessions of backend services.
#[utoipa::path(
    post, path = "/v1/secrets", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    request_body = NewSecret,
    params(
        ("If-Version" = Option<u64>, Header, description = "The version that must be current, 0 for none"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 201, description = "It is written", body = SettingWritten),
        (status = 409, description = "Another version is current"),
        Refusals
    )
)]
async fn post(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Answer<SettingWritten>), Problem> {
    let writer = Writer::of(&app, &info, &uri, &headers).await?;
    let asked = match writer.may() {
        true => WipedJson::<NewSecret>::from_request(request, &app).await.and_then(|WipedJson(new)| {
            let form = new.r#type.form(new.encoding)?;
            Ok((new.key, ChangeRequest::Secret { form, value: new.value }))
        }),
        false => Ok((String::new(), ChangeRequest::Delete)),
    };
    let written = writer.write("secret.set", EntryKind::Secret, asked).await?;
    Ok((StatusCode::CREATED, Answer(written)))
}

/// Which version is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhichVersion {
    /// One version; all if left out.
    #[param(minimum = 1)]
    version: Option<u64>,
}

/// Deletes a secret, unless a config refers to it, or one version of it: then the newest one that remains is handed out.
///
/// For secret keys and sessions of backend services.
#[utoipa::path(
    delete, path = "/v1/secrets/{key}", tag = "settings", security(("settings_key" = []), ("settings_session" = [])),
    params(
        ("key" = String, Path, description = "Its name"),
        WhichVersion,
        ("If-Version" = Option<u64>, Header, description = "The version that must be current"),
        ("Idempotency-Key" = Option<String>, Header, description = "Tells this request from others, if it is sent again"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Another version is current, or a config refers to it"),
        Refusals
    )
)]
async fn delete(
    State(app): State<App>,
    info: RequestInfo,
    uri: Uri,
    Path(key): Path<String>,
    query: Result<Query<WhichVersion>, Problem>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let writer = Writer::of(&app, &info, &uri, &headers).await?;
    let asked = query
        .map(|Query(query)| (key, query.version.map_or(ChangeRequest::Delete, ChangeRequest::DeleteVersion)));
    writer.write("secret.delete", EntryKind::Secret, asked).await?;
    Ok(StatusCode::NO_CONTENT)
}
