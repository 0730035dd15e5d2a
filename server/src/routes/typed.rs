//! The typed model of a manifest, for those who draw or search it without reading archives.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use leverframe::manifest::model::{
    Atom, Audience, EnvBlock, Flag, Manifest, Predicate, Rule, Scalar, Segment,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::manifest::{etag, none_match};
use crate::{
    app::App,
    extract::{Path, Query},
    heads::Head,
    principal::{Permission, Principal},
    problem::{Problem, Refusals},
    request::RequestInfo,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Most paths in one question; whoever has more asks for everything.
const MOST_PATHS: usize = 100;

/// Which part of the model is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ModelQuery {
    /// Files, separated by commas, to whose flags and segments the answer is limited: `flags/a.toml,segments/b.toml`.
    #[param(max_length = 8192)]
    paths: Option<String>,
}

/// The model of the current version, and the request's id.
#[derive(Debug, Serialize, ToSchema)]
struct ModelAnswer {
    version: u64,
    namespace: NamespaceModel,
    /// The declared environments in declaration order; null where any name is one.
    environments: Option<Vec<EnvironmentModel>>,
    /// The flags by key.
    flags: Vec<FlagModel>,
    /// The segments by key.
    segments: Vec<SegmentModel>,
    /// The attributes that rules read, with the types that they are read as.
    attributes: Vec<AttributeModel>,
    request_id: String,
}

/// What a namespace says of itself.
#[derive(Debug, Serialize, ToSchema)]
struct NamespaceModel {
    slug: String,
    display_name: String,
    description: String,
    telemetry_enabled: bool,
    private_attributes: Vec<String>,
    raw_entity_ids: bool,
}

/// A declared environment.
#[derive(Debug, Serialize, ToSchema)]
struct EnvironmentModel {
    name: String,
    display_name: String,
    public_evaluate: bool,
}

/// A flag.
#[derive(Debug, Serialize, ToSchema)]
struct FlagModel {
    key: String,
    /// `boolean`, `string`, `integer`, `float` or `json`.
    r#type: &'static str,
    description: String,
    owner: Option<String>,
    /// `development`, `active` or `retired`.
    lifecycle: &'static str,
    tags: Vec<String>,
    private_attributes: Vec<String>,
    /// In declaration order.
    variants: Vec<VariantModel>,
    catch_all: BlockModel,
    /// The blocks of named environments, in declaration order.
    environments: Vec<BlockModel>,
}

/// A named value.
#[derive(Debug, Serialize, ToSchema)]
struct VariantModel {
    key: String,
    #[schema(value_type = Value)]
    value: serde_json::Value,
    /// The value as text, exact where readers of JSON round numbers.
    text: String,
}

/// What a flag does in one environment.
#[derive(Debug, Serialize, ToSchema)]
struct BlockModel {
    /// The environment; `_` for the catch-all.
    name: String,
    /// The variant given when no rule matches; null where the block leaves it to the catch-all.
    variant: Option<String>,
    /// The rules in order; null where the block declares none, which is not the same as an empty list.
    rules: Option<Vec<RuleModel>>,
    /// Whether the rules apply only to callers that opt in.
    testing: bool,
}

/// Who gets which variant.
#[derive(Debug, Serialize, ToSchema)]
struct RuleModel {
    description: String,
    audience: AudienceModel,
    variant: String,
}

/// Who a rule is about.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AudienceModel {
    /// The members of the segment of that key.
    Segment(String),
    /// The contexts that satisfy it.
    Predicate(PredicateModel),
}

/// A condition on the context.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::use_self, reason = "what stands here is the name in the OpenAPI document")]
enum PredicateModel {
    /// All of them.
    #[schema(no_recursion)]
    All(Vec<PredicateModel>),
    /// Any of them.
    #[schema(no_recursion)]
    Any(Vec<PredicateModel>),
    /// Not that.
    #[schema(no_recursion)]
    Not(Box<PredicateModel>),
    /// Membership in the segment of that key.
    Segment(String),
    /// A test of one attribute.
    Test(TestModel),
}

/// A test of one attribute.
#[derive(Debug, Serialize, ToSchema)]
struct TestModel {
    attribute: String,
    op: &'static str,
    operands: Vec<OperandModel>,
}

/// What an attribute is tested against.
#[derive(Debug, Serialize, ToSchema)]
struct OperandModel {
    /// `string`, `bool`, `int` or `float`.
    r#type: &'static str,
    /// The literal without quotes, exact.
    text: String,
}

/// A named audience: who satisfies the predicate, if there is one, and falls into the bucket, if there is one.
#[derive(Debug, Serialize, ToSchema)]
struct SegmentModel {
    key: String,
    description: String,
    predicate: Option<PredicateModel>,
    bucket: Option<BucketModel>,
}

/// A share of entities, by hash.
#[derive(Debug, Serialize, ToSchema)]
struct BucketModel {
    entity_id_attribute: String,
    /// The salt in effect: the segment's key where none is declared.
    salt: String,
    /// First of the 10,000 buckets that belongs.
    start: u16,
    /// Last bucket that belongs.
    end: u16,
}

/// An attribute that rules read.
#[derive(Debug, Serialize, ToSchema)]
struct AttributeModel {
    name: String,
    /// `string`, `bool`, `int` or `float`.
    r#type: &'static str,
}

/// Returns the current manifest as a typed model.
///
/// The answer has the manifest's `ETag`, and is 304 for whoever has that version.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/namespaces/{namespace}/manifest/model", tag = "manifest",
    security(("bearer" = [])),
    params(
        ("tenant" = String, Path, description = "Slug; `-` stands for the token's own tenant"),
        ("namespace" = String, Path, description = "Slug"),
        ModelQuery
    ),
    responses(
        (status = 200, description = "The model", body = ModelAnswer,
         headers(("ETag" = String, description = "`\"v<N>\"` of the version"))),
        (status = 304, description = "The version is the one of `If-None-Match`"),
        Refusals
    )
)]
async fn get(
    State(app): State<App>,
    principal: Principal,
    info: RequestInfo,
    Path((tenant, namespace)): Path<(String, String)>,
    Query(query): Query<ModelQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = principal.resolve_tenant(&tenant)?;
    principal.require(Permission::ManifestRead, tenant, Some(&namespace))?;
    let paths = query.paths.as_deref().map(wanted).transpose()?;
    let head = app.heads().current(tenant, &namespace).await?;
    let head = head.ok_or_else(|| Problem::not_found("the namespace has no manifest yet"))?;

    let etag = etag(head.record.version);
    if none_match(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged(&etag)).into_response());
    }
    let request_id = info.id().to_owned();
    // Ten thousand flags take long enough to write that others would feel it.
    let answer = app.work().run(move || answer(&head, paths.as_ref(), request_id).into_response()).await?;
    Ok((tagged(&etag), answer).into_response())
}

fn tagged(etag: &str) -> HeaderMap {
    HeaderValue::from_str(etag).map(|value| (header::ETAG, value)).into_iter().collect()
}

fn wanted(paths: &str) -> Result<BTreeSet<String>, Problem> {
    let paths: BTreeSet<String> = paths.split(',').map(str::to_owned).collect();
    if paths.len() > MOST_PATHS {
        return Err(Problem::bad_request(format!("`paths` has more than {MOST_PATHS} of them")));
    }
    Ok(paths)
}

fn answer(head: &Arc<Head>, paths: Option<&BTreeSet<String>>, request_id: String) -> Answer<ModelAnswer> {
    let manifest: &Manifest = &head.manifest;
    let is_wanted =
        |folder: &str, key: &str| paths.is_none_or(|paths| paths.contains(&format!("{folder}/{key}.toml")));
    let flags = manifest.flags.values().filter(|flag| is_wanted("flags", &flag.key));
    let segments = manifest.segments.values().filter(|segment| is_wanted("segments", &segment.key));
    Answer(ModelAnswer {
        version: head.record.version,
        namespace: NamespaceModel {
            slug: manifest.slug.clone(),
            display_name: manifest.display_name.clone(),
            description: manifest.description.clone(),
            telemetry_enabled: manifest.telemetry_enabled,
            private_attributes: manifest.private_attributes.clone(),
            raw_entity_ids: manifest.raw_entity_ids,
        },
        environments: manifest.environments.as_ref().map(|roster| {
            let model = roster.iter().map(|environment| EnvironmentModel {
                name: environment.name.clone(),
                display_name: environment.display_name.clone(),
                public_evaluate: environment.public_evaluate,
            });
            model.collect()
        }),
        flags: flags.map(FlagModel::from).collect(),
        segments: segments.map(SegmentModel::from).collect(),
        attributes: manifest
            .attributes
            .iter()
            .map(|(name, of)| AttributeModel { name: name.clone(), r#type: of.as_str() })
            .collect(),
        request_id,
    })
}

impl From<&Flag> for FlagModel {
    fn from(flag: &Flag) -> Self {
        Self {
            key: flag.key.clone(),
            r#type: flag.flag_type.as_str(),
            description: flag.description.clone(),
            owner: flag.owner.clone(),
            lifecycle: flag.lifecycle.as_str(),
            tags: flag.tags.clone(),
            private_attributes: flag.private_attributes.clone(),
            variants: flag
                .variants
                .iter()
                .map(|variant| VariantModel {
                    key: variant.key.clone(),
                    value: variant.value.to_json(),
                    text: variant.value.to_string(),
                })
                .collect(),
            catch_all: BlockModel::of("_", &flag.catch_all),
            environments: flag.environments.iter().map(|(name, block)| BlockModel::of(name, block)).collect(),
        }
    }
}

impl BlockModel {
    fn of(name: &str, block: &EnvBlock) -> Self {
        Self {
            name: name.to_owned(),
            variant: block.variant.clone(),
            rules: block.rules.as_ref().map(|rules| rules.iter().map(RuleModel::from).collect()),
            testing: block.testing,
        }
    }
}

impl From<&Rule> for RuleModel {
    fn from(rule: &Rule) -> Self {
        Self {
            description: rule.description.clone(),
            audience: match &rule.audience {
                Audience::Segment(key) => AudienceModel::Segment(key.clone()),
                Audience::Predicate(predicate) => AudienceModel::Predicate(predicate.into()),
            },
            variant: rule.variant.clone(),
        }
    }
}

impl From<&Predicate> for PredicateModel {
    fn from(predicate: &Predicate) -> Self {
        match predicate {
            Predicate::And(nodes) => Self::All(nodes.iter().map(Self::from).collect()),
            Predicate::Or(nodes) => Self::Any(nodes.iter().map(Self::from).collect()),
            Predicate::Not(node) => Self::Not(Box::new(Self::from(&**node))),
            Predicate::Segment(key) => Self::Segment(key.clone()),
            Predicate::Atom(atom) => Self::Test(atom.into()),
        }
    }
}

impl From<&Atom> for TestModel {
    fn from(atom: &Atom) -> Self {
        let operand = |scalar: &Scalar| OperandModel {
            r#type: scalar.attr_type().as_str(),
            text: match scalar {
                Scalar::String(text) => text.clone(),
                other => other.to_string(),
            },
        };
        Self {
            attribute: atom.attribute.clone(),
            op: atom.op.as_str(),
            operands: atom.operands.iter().map(operand).collect(),
        }
    }
}

impl From<&Segment> for SegmentModel {
    fn from(segment: &Segment) -> Self {
        Self {
            key: segment.key.clone(),
            description: segment.description.clone(),
            predicate: segment.predicate.as_ref().map(PredicateModel::from),
            bucket: segment.bucket.as_ref().map(|bucket| BucketModel {
                entity_id_attribute: bucket.entity_id_attribute.clone(),
                salt: bucket.effective_salt(&segment.key).to_owned(),
                start: bucket.start,
                end: bucket.end,
            }),
        }
    }
}
