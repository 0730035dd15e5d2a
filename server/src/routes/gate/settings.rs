//! What operators set.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::status::SettingsView;
use crate::{
    app::App,
    audit::Write,
    checked,
    extract::{Json, Path, given, there},
    gate::model::{MOST_SITES, Settings},
    principal::{Permission, Principal},
    problem::{Envelope, Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(change))
}

/// What to change: what is left out stays, and what is null is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Changes {
    /// The site that it is for; all of the organisation if left out.
    #[schema(max_length = 64)]
    site: Option<String>,
    /// The revision that this is a change of; any if left out.
    if_revision: Option<u64>,
    /// The heaviest call that may pass; 0 refuses everything.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>)]
    global_max_weight: Option<Option<f64>>,
    /// The heaviest call of a tag that may pass; -1 refuses calls of any weight.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Option<f64>>)]
    tag_max_weights: BTreeMap<String, Option<f64>>,
    /// Refuse everything.
    #[serde(default, deserialize_with = "there")]
    kill_signal: Option<bool>,
    /// What to tell clients, for people.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 200)]
    status: Option<Option<String>>,
    /// How long a policy holds without being confirmed; three times `pulse_interval` at least.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 90, maximum = 604_800)]
    lease_duration_seconds: Option<Option<u64>>,
    /// How often to report, in milliseconds.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1_000, maximum = 300_000)]
    pulse_interval: Option<Option<u64>>,
}

/// What is set now, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct SettingsAnswer {
    settings: SettingsView,
    request_id: String,
}

/// Sets limits, kill signal, intervals and status of a fleet or one of its sites. They reach each instance with the
/// answer to its next pulse.
///
/// For superadmins, and for the admins of the tenant that is named like the organisation.
#[utoipa::path(
    patch, path = "/api/v1/gate/{org}", tag = "gate", security(("bearer" = [])), request_body = Changes,
    params(("org" = String, Path, description = "The organisation; `-` for the token's tenant")),
    responses(
        (status = 200, description = "It holds from now on", body = SettingsAnswer),
        (status = 409, description = "Another revision is current than the one named", body = Envelope),
        Refusals
    )
)]
async fn change(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(org): Path<String>,
    body: Result<Json<Changes>, Problem>,
) -> Result<Answer<SettingsAnswer>, Problem> {
    let org = principal.resolve_tenant(&org)?;
    let changes = body.map(|Json(changes)| changes);
    let (action, target) = match &changes {
        Ok(changes) => {
            let action = if changes.kill_signal.is_some() { "gate.kill" } else { "gate.set" };
            (action, changes.site.as_ref().map_or_else(|| org.to_owned(), |site| format!("{org}/{site}")))
        }
        Err(_) => ("gate.set", org.to_owned()),
    };
    let write = Write::new(&app, &principal, &info, action, Some(org), &target);
    let detail = changes.as_ref().map(Changes::detail).unwrap_or_default();
    let outcome = async {
        principal.require(Permission::GateWrite, org, None)?;
        let changes = changes?;
        checked::slug("org", org)?;
        if let Some(site) = &changes.site {
            checked::site(site)?;
            may_have(&app, org, site).await?;
        }
        apply(&app, &principal, org, &changes).await
    }
    .await;
    let detail = |settings: &Settings| format!("revision {}: {detail}", settings.revision);
    let settings = app.audited(write, outcome, detail).await?;
    Ok(Answer(SettingsAnswer { settings: SettingsView::from(&settings), request_id: info.id().to_owned() }))
}

/// Times that a change is tried which names no revision, and which others were faster than.
const ATTEMPTS: u32 = 16;

async fn apply(app: &App, principal: &Principal, org: &str, changes: &Changes) -> Result<Settings, Problem> {
    let site = changes.site.as_deref();
    for _ in 0..ATTEMPTS {
        let mut settings = app.store().gate_settings(org, site).await?;
        if changes.if_revision.is_some_and(|revision| revision != settings.revision) {
            return Err(conflict(settings.revision));
        }
        changes.apply(&mut settings);
        settings.updated_at = Some(app.clock().wall());
        settings.updated_by = Some(principal.token().id.clone());
        checked::gate_settings(&settings)?;
        // Whatever is kept from before is no reason to refuse a kill.
        if changes.lease_duration_seconds.is_some() || changes.pulse_interval.is_some() {
            match site {
                None => checked::gate_rhythm(&settings, &Settings::default())?,
                Some(_) => checked::gate_rhythm(&app.store().gate_settings(org, None).await?, &settings)?,
            }
        }
        let put = app.store().put_gate_settings(org, site, &settings).await;
        // Even if the store failed: it may have done so after they were kept.
        app.gate().doubt(org);
        if let Some(settings) = put? {
            return Ok(settings);
        }
    }
    Err(conflict(app.store().gate_settings(org, site).await?.revision))
}

async fn may_have(app: &App, org: &str, site: &str) -> Result<(), Problem> {
    let sites = app.store().gate_sites(org).await?;
    if sites.len() as u64 >= MOST_SITES && !sites.iter().any(|held| held == site) {
        return Err(Problem::bad_request(format!("an organisation has at most {MOST_SITES} sites")));
    }
    Ok(())
}

fn conflict(revision: u64) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", format!("the settings are at revision {revision}"))
        .with("revision", revision)
}

impl Changes {
    fn apply(&self, settings: &mut Settings) {
        if let Some(limit) = self.global_max_weight {
            settings.global_max_weight = limit;
        }
        for (tag, limit) in &self.tag_max_weights {
            match limit {
                Some(limit) => settings.tag_max_weights.insert(tag.clone(), *limit),
                None => settings.tag_max_weights.remove(tag),
            };
        }
        if let Some(kill) = self.kill_signal {
            settings.kill_signal = kill;
        }
        if let Some(status) = &self.status {
            settings.status.clone_from(status);
        }
        if let Some(lease) = self.lease_duration_seconds {
            settings.lease_duration_seconds = lease;
        }
        if let Some(interval) = self.pulse_interval {
            settings.pulse_interval = interval;
        }
    }

    /// Says what is changed, for the audit log.
    fn detail(&self) -> String {
        let shown = |number: Option<f64>| number.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let whole = |number: Option<u64>| number.map_or_else(|| "default".to_owned(), |n| n.to_string());
        let mut parts = Vec::new();
        parts.extend(self.kill_signal.map(|kill| format!("kill_signal {}", if kill { "on" } else { "off" })));
        parts.extend(self.global_max_weight.map(|limit| format!("global {}", shown(limit))));
        parts.extend(self.tag_max_weights.iter().map(|(tag, limit)| format!("{tag} {}", shown(*limit))));
        parts.extend(self.status.as_ref().map(|_| "status".to_owned()));
        parts.extend(self.lease_duration_seconds.map(|lease| format!("lease {}", whole(lease))));
        parts.extend(self.pulse_interval.map(|interval| format!("pulse_interval {}", whole(interval))));
        parts.join(", ")
    }
}
