//! Reading an upload: one file in a multipart form, bounded while it arrives.

use axum::extract::{
    FromRequest, Multipart, Request,
    multipart::{MultipartError, MultipartRejection},
};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use leverframe::manifest::archive::limits;

use crate::{app::App, problem::Problem};

/// What the form may have around the archive: boundaries, and headers of parts.
const FRAMING: usize = 64 * 1024;

/// The limit to put on a route that takes an upload; the archive's own is held here.
pub(super) const BODY_LIMIT: usize = limits::COMPRESSED + FRAMING;

/// Reads the archive out of a form with one file.
///
/// # Errors
/// `payload_too_large` as soon as more than the limit has arrived; `bad_request` for any other form.
pub(super) async fn archive(request: Request, app: &App) -> Result<Bytes, Problem> {
    let mut form = Multipart::from_request(request, app).await.map_err(|rejection| no_form(&rejection))?;
    let mut archive = None;
    while let Some(mut field) = form.next_field().await.map_err(|error| broken(&error))? {
        let name = field.name().unwrap_or_default();
        if name != FIELD {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Problem::bad_request(format!(
                "the form has a field `{shown}`; it takes `{FIELD}` only"
            )));
        }
        if archive.is_some() {
            return Err(Problem::bad_request(format!("the form has two fields `{FIELD}`; send one archive")));
        }
        let mut bytes = BytesMut::new();
        while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
            if bytes.len() + chunk.len() > limits::COMPRESSED {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        archive = Some(bytes.freeze());
    }
    archive.ok_or_else(|| Problem::bad_request(format!("the form has no field `{FIELD}` with the archive")))
}

/// The name of the one field.
const FIELD: &str = "archive";

fn no_form(_: &MultipartRejection) -> Problem {
    Problem::bad_request(format!(
        "the body must be sent as `Content-Type: multipart/form-data` with a boundary, and one file field `{FIELD}`"
    ))
}

fn broken(error: &MultipartError) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    Problem::bad_request("the form breaks off or is malformed")
}

fn too_large() -> Problem {
    Problem::payload_too_large(format!("an archive may have {} bytes", limits::COMPRESSED))
}
