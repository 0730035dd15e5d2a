//! What configs, flags and secrets have in common.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use serde::Serialize;
use utoipa::ToSchema;

use super::place::{EntryPath, existing, require};
use crate::{
    app::App,
    audit::Write,
    extract::{PageQuery, Path},
    principal::{Permission, Principal},
    problem::Problem,
    request::RequestInfo,
    routes::settings::precondition,
    settings::{
        ChangeRequest,
        model::{EntryKind, Held, ServiceId, is_key},
    },
};

/// What was written, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WrittenAnswer {
    pub(super) key: String,
    /// The version that was written; of what was deleted the last one.
    pub(super) version: u64,
    pub(super) request_id: String,
}

/// Returns what a service has, for whoever may see it.
pub(super) async fn held(app: &App, principal: &Principal, id: &ServiceId) -> Result<Held, Problem> {
    require(principal, Permission::SettingsRead, id)?;
    existing(app, id).await?;
    let held = app.store().settings_held(id).await?;
    held.ok_or_else(|| Problem::not_found("there is no such environment"))
}

/// Returns the part of a list by key that is asked for, and what the part that follows begins after.
pub(super) fn part<T>(
    all: &[T],
    key: impl Fn(&T) -> &str,
    asked: PageQuery,
) -> Result<(&[T], Option<String>), Problem> {
    let page = asked.page()?;
    if page.after.as_ref().is_some_and(|after| !is_key(after)) {
        return Err(Problem::bad_request("`cursor` must be what an earlier answer gave as `next_cursor`"));
    }
    let begin = page.after.map_or(0, |after| all.partition_point(|entry| key(entry) <= after.as_str()));
    let rest = all.get(begin..).unwrap_or_default();
    let (part, more) = rest.split_at(page.limit.min(rest.len()));
    let next = if more.is_empty() { None } else { part.last().map(|entry| key(entry).to_owned()) };
    Ok((part, next))
}

/// Says that there is no entry of that name.
pub(super) fn absent(kind: EntryKind) -> Problem {
    Problem::not_found(format!("there is no such {}", kind.as_str()))
}

/// Says in the audit log which entry is meant.
pub(super) fn target(id: &ServiceId, key: &str) -> String {
    format!("{id} {key}")
}

/// A request that concerns one entry.
pub(super) struct EntryRequest {
    pub(super) app: App,
    pub(super) principal: Principal,
    pub(super) info: RequestInfo,
    pub(super) id: ServiceId,
    pub(super) key: String,
    headers: HeaderMap,
}

impl FromRequestParts<App> for EntryRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let info = RequestInfo::from_request_parts(parts, app).await?;
        let Path(path) = Path::<EntryPath>::from_request_parts(parts, app).await?;
        let (id, key) = path.named(&principal)?;
        Ok(Self { app: app.clone(), principal, info, id, key, headers: parts.headers.clone() })
    }
}

impl EntryRequest {
    /// Returns what the entry's service has, for whoever may see it.
    pub(super) async fn held(&self) -> Result<Held, Problem> {
        held(&self.app, &self.principal, &self.id).await
    }

    /// Changes the entry.
    pub(super) async fn write(
        &self,
        kind: EntryKind,
        change: Result<ChangeRequest, Problem>,
    ) -> Result<WrittenAnswer, Problem> {
        let Self { app, principal, info, id, key, headers } = self;
        Asked { app, principal, info, headers, id, kind, key }.write(change).await
    }
}

/// What is asked of which entry, by whom.
pub(super) struct Asked<'a> {
    pub(super) app: &'a App,
    pub(super) principal: &'a Principal,
    pub(super) info: &'a RequestInfo,
    pub(super) headers: &'a HeaderMap,
    pub(super) id: &'a ServiceId,
    pub(super) kind: EntryKind,
    pub(super) key: &'a str,
}

impl Asked<'_> {
    /// Changes the entry, by the means that clients change it with.
    pub(super) async fn write(
        self,
        change: Result<ChangeRequest, Problem>,
    ) -> Result<WrittenAnswer, Problem> {
        let Self { app, principal, info, headers, id, kind, key } = self;
        let deletes = matches!(change, Ok(ChangeRequest::Delete | ChangeRequest::DeleteVersion(_)));
        let (action, target) = (action(kind, deletes), target(id, key));
        let write = Write::new(app, principal, info, action, Some(&id.tenant), &target);
        let outcome = async {
            require(principal, Permission::SettingsWrite, id)?;
            let change = change?;
            let asked = precondition(headers, &principal.token().id)?;
            existing(app, id).await?;
            app.settings().write(id, kind, key, change, asked, &principal.token().id).await
        }
        .await;
        let version = app.audited(write, outcome, |version| format!("version {version}")).await?;
        Ok(WrittenAnswer { key: key.to_owned(), version, request_id: info.id().to_owned() })
    }
}

fn action(kind: EntryKind, deletes: bool) -> &'static str {
    match (kind, deletes) {
        (EntryKind::Config, false) => "config.set",
        (EntryKind::Config, true) => "config.delete",
        (EntryKind::Flag, false) => "flag.set",
        (EntryKind::Flag, true) => "flag.delete",
        (EntryKind::Secret, false) => "secret.set",
        (EntryKind::Secret, true) => "secret.delete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(limit: usize, cursor: Option<&str>) -> PageQuery {
        let mut asked = PageQuery::default();
        (asked.limit, asked.cursor) = (Some(limit), cursor.map(str::to_owned));
        asked
    }

    #[test]
    fn a_list_comes_in_parts_that_join() {
        let all = ["a", "b", "c"];
        let part = |limit, cursor| super::part(&all, |key| *key, asked(limit, cursor)).unwrap();

        assert_eq!(part(2, None), (&["a", "b"][..], Some("b".to_owned())));
        assert_eq!(part(2, Some("b")), (&["c"][..], None));
        assert_eq!(part(3, None), (&all[..], None));
        assert_eq!(part(1, Some("aa")), (&["b"][..], Some("b".to_owned())), "one that has gone");
        assert_eq!(part(1, Some("z")), (&[][..], None));
        assert!(super::part(&all, |key| *key, asked(1, Some("\u{0}"))).is_err());
    }
}
