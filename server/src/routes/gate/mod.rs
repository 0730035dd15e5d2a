//! The control plane of the gate: what instances ask (`protocol`), and what operators do.

use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

mod keys;
mod protocol;
mod settings;
mod status;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(protocol::routes())
        .merge(status::routes())
        .merge(settings::routes())
        .merge(keys::routes())
}
