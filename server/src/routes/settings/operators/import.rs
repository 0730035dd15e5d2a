//! Many entries at once.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    entries::Asked,
    place::{ServicePath, existing, require},
};
use crate::{
    app::App,
    audit::Write,
    extract::{Path, Query, WipedJson},
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::settings::secrets::SecretWrite,
    settings::{ChangeRequest, Fate, FlagWrite, Wanted, model::EntryKind},
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(import))
}

/// Entries of one import: each is a write of its own, and all have to be answered within a minute.
const MOST: usize = 500;

/// What an environment is to have; what is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Import {
    /// Values by key.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Value>)]
    configs: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    flags: BTreeMap<String, FlagWrite>,
    #[serde(default)]
    secrets: BTreeMap<String, SecretWrite>,
}

/// Whether anything is written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportQuery {
    /// Only says what would change.
    #[serde(default)]
    dry_run: bool,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ImportChange {
    Created,
    Changed,
    Unchanged,
    Refused,
}

/// An entry of an import, without its value.
#[derive(Debug, Serialize, ToSchema)]
struct ImportedEntry {
    /// `config`, `flag` or `secret`.
    kind: &'static str,
    key: String,
    change: ImportChange,
    /// The version that was written.
    version: Option<u64>,
    /// Why it was refused.
    problem: Option<ImportProblem>,
}

/// Why an entry was refused.
#[derive(Debug, Serialize, ToSchema)]
struct ImportProblem {
    code: &'static str,
    message: String,
}

/// What became of an import, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ImportAnswer {
    dry_run: bool,
    changes: Vec<ImportedEntry>,
    /// How many were created or changed, or would be.
    written: usize,
    /// How many were refused, or would be.
    refused: usize,
    request_id: String,
}

/// Writes what differs of many entries, one after the other; an entry that is refused keeps none from being written.
///
/// Whether a secret differs is found out only by tokens that may read it: for others it counts as changed.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/settings/environments/{environment}/import",
    tag = "settings", security(("bearer" = [])), request_body = Import,
    params(ServicePath, ImportQuery),
    responses((status = 200, description = "What became of each", body = ImportAnswer), Refusals)
)]
async fn import(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(path): Path<ServicePath>,
    query: Result<Query<ImportQuery>, Problem>,
    body: Result<WipedJson<Import>, Problem>,
) -> Result<Answer<ImportAnswer>, Problem> {
    let id = path.named(&principal)?;
    let write = Write::new(&app, &principal, &info, "settings.import", Some(&id.tenant), &id.to_string());
    let dry_run = matches!(&query, Ok(Query(ImportQuery { dry_run: true })));
    let outcome = async {
        require(&principal, Permission::SettingsWrite, &id)?;
        query?;
        let wanted = body?.0.wanted()?;
        existing(&app, &id).await?;
        let may_read = require(&principal, Permission::SecretRead, &id).is_ok();
        let (wanted, fates) = app.settings().trial(&id, wanted, may_read).await?;
        let mut entries = Vec::with_capacity(wanted.len());
        let mut pending = Vec::new();
        for (at, (one, fate)) in wanted.into_iter().zip(fates).enumerate() {
            entries.push(ImportedEntry::of(&one, &fate));
            if matches!(fate, Ok(Fate::Created | Fate::Changed)) {
                pending.push((at, one));
            }
        }
        if !dry_run {
            write_all(&app, &principal, &info, &id, pending, &mut entries).await;
        }
        Ok(entries)
    }
    .await;
    let count = |entries: &[ImportedEntry], of: &[ImportChange]| {
        entries.iter().filter(|entry| of.contains(&entry.change)).count()
    };
    let (done, refused) = ([ImportChange::Created, ImportChange::Changed], [ImportChange::Refused]);
    let entries = match outcome {
        // Nothing is done that would have to be on record.
        Ok(entries) if dry_run => entries,
        outcome => {
            let detail = |entries: &Vec<ImportedEntry>| {
                format!("{} written, {} refused", count(entries, &done), count(entries, &refused))
            };
            app.audited(write, outcome, detail).await?
        }
    };
    Ok(Answer(ImportAnswer {
        dry_run,
        written: count(&entries, &done),
        refused: count(&entries, &refused),
        changes: entries,
        request_id: info.id().to_owned(),
    }))
}

/// Writes what is pending, and says of each what became of it. A config that refers to another one which is not there yet
/// is tried again after the others, as long as any is written.
async fn write_all(
    app: &App,
    principal: &Principal,
    info: &RequestInfo,
    id: &crate::settings::model::ServiceId,
    mut pending: Vec<(usize, Wanted)>,
    entries: &mut [ImportedEntry],
) {
    let headers = HeaderMap::new();
    loop {
        let (before, mut again) = (pending.len(), Vec::new());
        for (at, one) in pending {
            let Wanted { kind, key, change } = one;
            let asked = Asked { app, principal, info, headers: &headers, id, kind, key: &key };
            match asked.write(Ok(change.clone())).await {
                Ok(written) => entries[at].version = Some(written.version),
                Err(problem) if kind == EntryKind::Config && problem.code() == "bad_request" => {
                    again.push((at, Wanted { kind, key, change }, problem));
                }
                Err(problem) => entries[at].refuse(&problem),
            }
        }
        if again.len() == before || again.is_empty() {
            again.iter().for_each(|(at, _, problem)| entries[*at].refuse(problem));
            return;
        }
        pending = again.into_iter().map(|(at, one, _)| (at, one)).collect();
    }
}

impl ImportedEntry {
    fn of(one: &Wanted, fate: &Result<Fate, Problem>) -> Self {
        let mut entry = Self {
            kind: one.kind.as_str(),
            key: one.key.clone(),
            change: match fate {
                Ok(Fate::Created) => ImportChange::Created,
                Ok(Fate::Changed) => ImportChange::Changed,
                Ok(Fate::Unchanged) => ImportChange::Unchanged,
                Err(_) => ImportChange::Refused,
            },
            version: None,
            problem: None,
        };
        if let Err(problem) = fate {
            entry.refuse(problem);
        }
        entry
    }

    fn refuse(&mut self, problem: &Problem) {
        self.change = ImportChange::Refused;
        self.problem = Some(ImportProblem { code: problem.code(), message: problem.message().to_owned() });
    }
}

impl Import {
    /// Returns the entries in an order in which most find what they refer to.
    fn wanted(self) -> Result<Vec<Wanted>, Problem> {
        let count = self.configs.len() + self.flags.len() + self.secrets.len();
        if count > MOST {
            return Err(Problem::bad_request(format!(
                "an import has at most {MOST} entries, this one has {count}"
            )));
        }
        let mut wanted = Vec::with_capacity(count);
        for (key, secret) in self.secrets {
            wanted.push(Wanted { kind: EntryKind::Secret, key, change: secret.try_into()? });
        }
        for (key, flag) in self.flags {
            wanted.push(Wanted { kind: EntryKind::Flag, key, change: ChangeRequest::Flag(flag) });
        }
        let mut configs: Vec<_> = self.configs.into_iter().collect();
        configs.sort_by_key(|(_, value)| value.to_string().contains("{{config:"));
        for (key, value) in configs {
            wanted.push(Wanted { kind: EntryKind::Config, key, change: ChangeRequest::Config(value) });
        }
        Ok(wanted)
    }
}
