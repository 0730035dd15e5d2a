//! Who may evaluate what, and in which environment.

use std::sync::Arc;

use http::HeaderMap;

use super::cors;
use crate::{
    app::App,
    heads::Head,
    model::TokenType,
    principal::{Permission, Principal},
    problem::Problem,
    request::RequestInfo,
};

/// A principal that may evaluate a namespace, in some environment of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) principal: Principal,
    pub(crate) tenant: String,
    pub(crate) namespace: String,
}

impl Asked {
    /// Finds who asks, and lets them through as far as can be told before the body is read.
    ///
    /// # Errors
    /// As [`App::authenticate`]; `forbidden` for what the token is not bound to, or an origin that it does not allow.
    pub(crate) async fn authenticate(
        headers: &HeaderMap,
        info: &RequestInfo,
        app: &App,
        tenant: &str,
        namespace: &str,
    ) -> Result<Self, Problem> {
        let principal = app.authenticate(headers, info).await?;
        let tenant = principal.resolve_tenant(tenant)?.to_owned();
        let asked = Self { principal, tenant, namespace: namespace.to_owned() };
        asked.require()?;
        if asked.is_client() {
            cors::check(asked.principal.token(), headers)?;
        }
        Ok(asked)
    }

    /// # Errors
    /// `forbidden` unless the token may evaluate in the namespace.
    pub(crate) fn require(&self) -> Result<(), Problem> {
        let permission = if self.is_client() { Permission::EvaluatePublic } else { Permission::Evaluate };
        self.principal.require(permission, &self.tenant, Some(&self.namespace))
    }

    /// Returns whether the token is one for browsers and apps.
    pub(crate) fn is_client(&self) -> bool {
        self.principal.token().kind == TokenType::NamespaceClient
    }

    /// Returns the environment to evaluate in: the one named, which has to be the bound one of a client token.
    ///
    /// # Errors
    /// `forbidden` for another than the bound one, `bad_request` where there is none.
    pub(crate) fn environment<'a>(&'a self, named: Option<&'a str>) -> Result<&'a str, Problem> {
        if !self.is_client() {
            return named.ok_or_else(|| Problem::bad_request("`environment` is missing"));
        }
        match (self.principal.token().environment.as_deref(), named) {
            (Some(bound), None) => Ok(bound),
            (Some(bound), Some(named)) if bound == named => Ok(bound),
            _ => Err(Problem::forbidden("the token is for another environment")),
        }
    }
}

/// Returns the manifest to evaluate.
///
/// # Errors
/// `not_found` before the first upload; `bad_request` for an unknown environment, `forbidden` for one that is not
/// public and a client token; what reading the manifest failed with.
pub(crate) async fn admit(app: &App, asked: &Asked, environment: &str) -> Result<Arc<Head>, Problem> {
    let head = app.heads().current(&asked.tenant, &asked.namespace).await?;
    if asked.is_client() {
        let is_public =
            |head: &Arc<Head>| head.meta.environment(environment).is_some_and(|e| e.public_evaluate);
        // In the same words whether there is such an environment or not.
        return head.filter(is_public).ok_or_else(|| {
            Problem::forbidden(
                "the environment is not open to client tokens: it has no `public_evaluate = true`",
            )
        });
    }
    let head = head.ok_or_else(|| {
        Problem::not_found("the namespace does not exist, or nothing was uploaded to it yet")
    })?;
    if head.program.has_environment(environment) {
        return Ok(head);
    }
    let declared: Vec<&str> =
        head.meta.environments.iter().flatten().map(|environment| &*environment.name).collect();
    let shown: String = environment.chars().filter(|c| !c.is_control()).take(64).collect();
    Err(Problem::bad_request(format!("the namespace has no environment `{shown}`"))
        .with("environments", declared))
}
