//! What operators do with settings: services, their keys, and what they have.
//!
//! A path names the service by tenant, namespace and environment. Entries are written by the same means as clients write
//! them; the value of a secret is told by one route alone, which says so in the audit log first.

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

mod configs;
mod entries;
mod environments;
mod flags;
mod import;
mod keys;
mod place;
mod secrets;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(environments::routes())
        .merge(keys::routes())
        .merge(configs::routes())
        .merge(flags::routes())
        .merge(secrets::routes())
        .merge(import::routes())
}
