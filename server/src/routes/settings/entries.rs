//! What writes of configs, flags and secrets have in common.

use http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::precondition;
use crate::{
    app::App,
    audit::Write,
    problem::Problem,
    request::RequestInfo,
    settings::{Caller, ChangeRequest, model::EntryKind},
};

/// Bytes of a body: those of the largest value, with escapes.
pub(super) const BODY: usize = 4 * 1024 * 1024;

/// What was written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingWritten {
    key: String,
    /// The version that was written; of what was deleted the last one.
    version: u64,
}

/// Somebody who may write, and what is known of their request.
pub(super) struct Writer<'a> {
    app: &'a App,
    info: &'a RequestInfo,
    headers: &'a HeaderMap,
    caller: Caller,
}

impl<'a> Writer<'a> {
    /// Finds who asks; whether they may write is found when they do, so that it is recorded.
    pub(super) async fn of(
        app: &'a App,
        info: &'a RequestInfo,
        uri: &Uri,
        headers: &'a HeaderMap,
    ) -> Result<Self, Problem> {
        Ok(Self { app, info, headers, caller: Caller::of(app, headers, uri, info).await? })
    }

    /// Returns true if they may write, so that what they sent is worth reading.
    pub(super) fn may(&self) -> bool {
        self.caller.require_write().is_ok()
    }

    /// Changes an entry of the caller's service.
    pub(super) async fn write(
        self,
        action: &'static str,
        kind: EntryKind,
        asked: Result<(String, ChangeRequest), Problem>,
    ) -> Result<SettingWritten, Problem> {
        let Self { app, info, headers, caller } = self;
        if let Err(problem) = caller.require_write()
            && !app.settings().refusals.takes(&caller.id, info.begun())
        {
            // Public keys are everybody's. Of more than a few a minute the server's own log tells.
            return Err(problem);
        }
        let key = asked.as_ref().map(|(key, _)| key.as_str()).unwrap_or_default();
        let target = format!("{} {key}", caller.service);
        let write = Write::by(app, &caller.id, info, action, Some(&caller.service.tenant), &target);
        let outcome = async {
            caller.require_write()?;
            let (key, change) = asked?;
            let asked = precondition(headers, &caller.id)?;
            let written = app.settings().write(&caller.service, kind, &key, change, asked, &caller.id);
            Ok(SettingWritten { version: written.await?, key })
        }
        .await;
        app.audited(write, outcome, |written| format!("version {}", written.version)).await
    }
}
