//! What fleets do and what they may.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Json as Answer, extract::State};
use leverframe::{
    gate::{
        Policy,
        reflex::{Action, Aggregate, ReflexRule, RuleState, Window},
    },
    rfc3339,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    extract::{PageQuery, Path, Query},
    gate::{
        View,
        model::{Settings, SiteId},
        patience,
    },
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
    routes::list_error,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(status))
}

/// Over how long the numbers of tags are.
const WINDOW_SECS: u32 = 60;
/// Tags that are told, besides those with limits: what an instance tells apart. A fleet may tell apart ten times that.
const MOST_TAGS: usize = 1_000;

/// A fleet, by and large.
#[derive(Debug, Serialize, ToSchema)]
struct OrgView {
    org: String,
    /// How many sites it has.
    sites: usize,
    /// Whether all of it is told to refuse everything.
    kill_signal: bool,
}

/// Fleets, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct OrgsAnswer {
    orgs: Vec<OrgView>,
    /// What to pass as `cursor` for the part that follows; null at the end.
    next_cursor: Option<String>,
    request_id: String,
}

/// What is set for a fleet or one of its sites.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettingsView {
    /// Counts the changes; 0 as long as nothing was set.
    revision: u64,
    /// The heaviest call that may pass.
    global_max_weight: Option<f64>,
    /// The heaviest call of a tag that may pass.
    tag_max_weights: BTreeMap<String, f64>,
    /// Refuse everything.
    kill_signal: bool,
    /// What clients are told, for people.
    status: Option<String>,
    /// How long a policy holds without being confirmed; 300 as long as nothing is set.
    lease_duration_seconds: Option<u64>,
    /// How often to report, in milliseconds; 5,000 as long as nothing is set.
    pulse_interval: Option<u64>,
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// The id of the token that it was changed with last.
    updated_by: Option<String>,
}

/// What an instance counted under a tag, over the window.
#[derive(Debug, Serialize, ToSchema)]
struct TagView {
    /// The tag; `__default__` for untagged calls, and empty for what clients know only of all calls together.
    tag: String,
    calls: u64,
    denied: u64,
    errors: u64,
    /// The mean, in milliseconds; null without samples.
    latency: Option<f64>,
    p50_latency: Option<f64>,
    p95_latency: Option<f64>,
    p99_latency: Option<f64>,
    /// The heaviest call that may pass, as the policy has it.
    max_weight: Option<f64>,
    /// How many of 100 calls are refused, as the policy has it.
    throttle: Option<u8>,
    /// Values of custom metrics.
    custom: BTreeMap<String, CustomView>,
}

/// Values of a custom metric.
#[derive(Debug, Serialize, ToSchema)]
struct CustomView {
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
}

/// What was counted since ever.
#[derive(Debug, Default, Serialize, ToSchema)]
struct TotalsView {
    calls: u64,
    denied: u64,
    errors: u64,
    /// Latencies.
    samples: u64,
    pulses: u64,
}

/// A reflex rule, and how it stands.
#[derive(Debug, Serialize, ToSchema)]
struct RuleView {
    /// The namespace whose `gate.toml` has it.
    namespace: String,
    name: String,
    /// The tag that it is about; `*` for all calls.
    tag: String,
    metric: String,
    /// `>`, `>=`, `<` or `<=`.
    operator: &'static str,
    threshold: f64,
    window_secs: u32,
    action: ActionView,
    recover_below: f64,
    recover_after_secs: u32,
    in_force: bool,
    /// Since when it is in force.
    #[schema(format = DateTime)]
    since: Option<String>,
    /// Since when the metric has been calm while it is in force.
    #[schema(format = DateTime)]
    calm_since: Option<String>,
    /// What the metric was when it was last looked at.
    value: Option<f64>,
    /// Why it is in force.
    why: Option<String>,
}

/// What a rule does.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ActionView {
    Block,
    LimitWeight { limit: f64 },
    ThrottlePercent { percent: u8 },
}

/// How a site stands.
#[derive(Debug, Serialize, ToSchema)]
struct SiteView {
    site: String,
    /// What is set for the site; null if nothing is.
    settings: Option<SettingsView>,
    /// What its instances are told.
    #[schema(value_type = Object)]
    policy: Policy,
    /// How many have reported lately.
    instances: u64,
    #[schema(format = DateTime)]
    last_pulse_at: Option<String>,
    /// Over how long the numbers of `tags` are.
    window_secs: u32,
    tags: Vec<TagView>,
    totals: TotalsView,
    rules: Vec<RuleView>,
}

/// How a fleet stands, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct StatusAnswer {
    org: String,
    #[schema(format = DateTime)]
    now: String,
    settings: SettingsView,
    sites: Vec<SiteView>,
    request_id: String,
}

/// Lists the fleets that have keys, settings or reports.
///
/// For superadmins, and for tenant admins, who see their own.
#[utoipa::path(
    get, path = "/api/v1/gate", tag = "gate", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, description = "The fleets", body = OrgsAnswer), Refusals)
)]
async fn list(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Query(asked): Query<PageQuery>,
) -> Result<Answer<OrgsAnswer>, Problem> {
    let page = asked.page()?;
    let (names, next_cursor) = match principal.tenant() {
        // A tenant's admin has one fleet at most.
        Some(own) => {
            principal.require(Permission::GateRead, own, None)?;
            let is_there = page.after.is_none() && exists(&app, own).await?;
            (Vec::from_iter(is_there.then(|| own.to_owned())), None)
        }
        None => {
            principal.require(Permission::GateRead, "", None)?;
            let page = app.store().gate_orgs(&page).await.map_err(list_error)?;
            (page.items, page.next)
        }
    };
    let mut orgs = Vec::with_capacity(names.len());
    for org in names {
        let sites = app.store().gate_sites(&org).await?.len();
        let kill_signal = app.store().gate_settings(&org, None).await?.kill_signal;
        orgs.push(OrgView { org, sites, kill_signal });
    }
    Ok(Answer(OrgsAnswer { orgs, next_cursor, request_id: info.id().to_owned() }))
}

/// Returns true if the org has settings, keys or sites.
async fn exists(app: &App, org: &str) -> Result<bool, Problem> {
    let store = app.store();
    Ok(store.gate_settings(org, None).await?.revision > 0
        || !store.gate_sites(org).await?.is_empty()
        || !store.gate_keys(org, &crate::model::PageRequest::first(1)).await?.items.is_empty())
}

/// Tells how a fleet stands: what is set, and of each site what its instances do and are told, the rules and why they
/// are in force.
///
/// For superadmins, and for the admins of the tenant that is named like the organisation.
#[utoipa::path(
    get, path = "/api/v1/gate/{org}", tag = "gate", security(("bearer" = [])),
    params(("org" = String, Path, description = "The organisation; `-` for the token's tenant")),
    responses((status = 200, description = "How it stands", body = StatusAnswer), Refusals)
)]
async fn status(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path(org): Path<String>,
) -> Result<Answer<StatusAnswer>, Problem> {
    let org = principal.resolve_tenant(&org)?;
    principal.require(Permission::GateRead, org, None)?;
    // A tenant has a fleet whether it has reported or not.
    if app.store().tenant(org).await?.is_none() && !exists(&app, org).await? {
        return Err(Problem::not_found("there is no such organisation"));
    }
    let now = app.clock().wall();
    let mut sites = Vec::new();
    for site in app.store().gate_sites(org).await? {
        sites.push(SiteView::read(&app, &SiteId::new(org, site), now).await?);
    }
    let settings = app.store().gate_settings(org, None).await?;
    Ok(Answer(StatusAnswer {
        org: org.to_owned(),
        now: rfc3339(now),
        settings: SettingsView::from(&settings),
        sites,
        request_id: info.id().to_owned(),
    }))
}

impl From<&Settings> for SettingsView {
    fn from(settings: &Settings) -> Self {
        Self {
            revision: settings.revision,
            global_max_weight: settings.global_max_weight,
            tag_max_weights: settings.tag_max_weights.clone(),
            kill_signal: settings.kill_signal,
            status: settings.status.clone(),
            lease_duration_seconds: settings.lease_duration_seconds,
            pulse_interval: settings.pulse_interval,
            updated_at: settings.updated_at.map(rfc3339),
            updated_by: settings.updated_by.clone(),
        }
    }
}

impl SiteView {
    async fn read(app: &App, id: &SiteId, now: SystemTime) -> Result<Self, Problem> {
        let store = app.store();
        let view = app.gate().view_of(id).await?;
        let window = store.gate_window(id, WINDOW_SECS, now).await?;
        let totals = store.gate_totals(id).await?;
        // What is at hand need not know of the last pulse.
        let state = store.gate_site(id).await?;
        let mut all = TotalsView { pulses: state.pulses, ..TotalsView::default() };
        for counted in totals.values() {
            all.calls = all.calls.saturating_add(counted.calls);
            all.denied = all.denied.saturating_add(counted.denied);
            all.errors = all.errors.saturating_add(counted.errors);
            all.samples = all.samples.saturating_add(counted.samples());
        }
        Ok(Self {
            site: id.site.clone(),
            settings: (view.settings.revision > 0).then(|| SettingsView::from(&view.settings)),
            instances: store.gate_instances(id, patience(view.policy.pulse_interval), now).await?,
            last_pulse_at: state.last_pulse_at.map(rfc3339),
            window_secs: WINDOW_SECS,
            tags: tags(&window, &view.policy),
            totals: all,
            rules: rules(&view, &state.rules),
            policy: view.policy.clone(),
        })
    }
}

/// Returns a row for each tag that has a limit, and for those that there were most calls of.
fn tags(window: &Window, policy: &Policy) -> Vec<TagView> {
    let mut called: Vec<(&str, u64)> = window.iter().map(|(tag, counted)| (&**tag, counted.calls)).collect();
    called.sort_unstable_by_key(|(tag, calls)| (Reverse(*calls), *tag));
    let limited = policy.tag_max_weights.iter().map(|(tag, _)| tag);
    let throttled = policy.throttle.keys().map(String::as_str);
    let called = called.into_iter().map(|(tag, _)| tag).take(MOST_TAGS);
    let names: BTreeSet<&str> = called.chain(limited).chain(throttled).collect();
    let nothing = Aggregate::default();
    let row = |tag: &str| {
        let counted = window.get(tag).unwrap_or(&nothing);
        TagView {
            tag: tag.to_owned(),
            calls: counted.calls,
            denied: counted.denied,
            errors: counted.errors,
            latency: counted.mean_ms(),
            p50_latency: counted.percentile_ms(0.50),
            p95_latency: counted.percentile_ms(0.95),
            p99_latency: counted.percentile_ms(0.99),
            max_weight: policy.tag_max_weights.get(tag),
            throttle: policy.throttle.get(tag).copied(),
            custom: counted
                .custom
                .iter()
                .map(|(name, v)| {
                    (name.clone(), CustomView { min: v.min, max: v.max, sum: v.sum, count: v.count })
                })
                .collect(),
        }
    };
    names.into_iter().map(row).collect()
}

fn rules(view: &View, states: &BTreeMap<String, RuleState>) -> Vec<RuleView> {
    let row = |rule: &ReflexRule| {
        let state = states.get(&rule.name).copied().unwrap_or_default();
        let (namespace, name) = rule.name.split_once('/').unwrap_or(("", &rule.name));
        let time = |ms: u64| rfc3339(UNIX_EPOCH + Duration::from_millis(ms));
        RuleView {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            tag: rule.tag.clone(),
            metric: rule.metric.to_string(),
            operator: rule.operator.as_str(),
            threshold: rule.threshold,
            window_secs: rule.window_secs,
            action: match rule.action {
                Action::LimitWeight(limit) => ActionView::LimitWeight { limit },
                Action::ThrottlePercent(percent) => ActionView::ThrottlePercent { percent },
                // The enumeration may grow; what is not known by name is told as the strictest.
                _ => ActionView::Block,
            },
            recover_below: rule.recover_below,
            recover_after_secs: rule.recover_after_secs,
            in_force: state.is_in_force(),
            since: state.in_force_since_ms.map(time),
            calm_since: state.calm_since_ms.map(time),
            value: state.value,
            why: rule.why(&state),
        }
    };
    view.rules.iter().map(row).collect()
}
