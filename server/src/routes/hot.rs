//! The routes that are asked most, found without the router.
//!
//! A server-side evaluation takes less time than the router's own work around it: matching, boxing handlers and futures,
//! and passing what was found through a map of types. So the connection looks for these few paths first. What is
//! found is framed and answered by the functions that the routes of the same templates call; whatever is not plainly one
//! of them, such as a path with an escape in it, goes the long way and means the same there.

use std::net::IpAddr;

use axum::{
    body::{Bytes, HttpBody},
    response::{IntoResponse, Response},
};
use http::{Method, Request, Uri};

use super::{
    evaluate::{self, Scope},
    ofrep,
};
use crate::{app::App, extract, frame};

/// A request to one of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hot<'u> {
    Evaluate { tenant: &'u str, namespace: &'u str, scope: Scope },
    Ofrep { key: &'u str },
}

impl<'u> Hot<'u> {
    /// Tells whether a request is one of them.
    pub(crate) fn of(method: &Method, uri: &'u Uri) -> Option<Self> {
        let path = uri.path();
        if method != Method::POST || path.contains('%') {
            return None;
        }
        if let Some(key) = path.strip_prefix("/ofrep/v1/evaluate/flags/") {
            return (!key.is_empty() && !key.contains('/')).then_some(Self::Ofrep { key });
        }
        let (tenant, rest) = path.strip_prefix("/api/v1/tenants/")?.split_once('/')?;
        let (namespace, rest) = rest.strip_prefix("namespaces/")?.split_once('/')?;
        let scope = match rest {
            "evaluate" => Scope::Named,
            "evaluate/all" => Scope::All,
            _ => return None,
        };
        (!tenant.is_empty() && !namespace.is_empty()).then_some(Self::Evaluate { tenant, namespace, scope })
    }

    /// Answers the request.
    pub(crate) async fn answer<B>(self, app: &App, request: Request<B>, peer: IpAddr) -> Response
    where
        B: HttpBody<Data = Bytes> + Send,
    {
        let info = app.begin(Some(peer));
        let answer = async {
            match self {
                Self::Evaluate { tenant, namespace, scope } => {
                    evaluate::respond(app, tenant, namespace, &info, request, scope).await
                }
                Self::Ofrep { key } => match extract::query(request.uri()) {
                    Ok(place) => ofrep::respond_one(app, key, &place, &info, request).await,
                    Err(problem) => problem.into_response(),
                },
            }
        };
        frame::framed(app, &info, &Method::POST, self.template(), answer).await
    }

    /// Returns what the route is called in logs and counts, as the router has it.
    fn template(self) -> &'static str {
        match self {
            Self::Evaluate { scope: Scope::Named, .. } => {
                "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate"
            }
            Self::Evaluate { scope: Scope::All, .. } => {
                "/api/v1/tenants/{tenant}/namespaces/{namespace}/evaluate/all"
            }
            Self::Ofrep { .. } => "/ofrep/v1/evaluate/flags/{key}",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, uri: &'static str) -> Option<(Hot<'static>, &'static str)> {
        let uri: &'static Uri = Box::leak(Box::new(Uri::from_static(uri)));
        Hot::of(&method, uri).map(|hot| (hot, hot.template()))
    }

    #[test]
    fn requests_of_the_routes_are_found_with_their_parts() {
        let of = |scope| Hot::Evaluate { tenant: "acme", namespace: "shop", scope };
        for (uri, expected) in [
            ("/api/v1/tenants/acme/namespaces/shop/evaluate", of(Scope::Named)),
            ("/api/v1/tenants/acme/namespaces/shop/evaluate?x=%20", of(Scope::Named)),
            ("http://here/api/v1/tenants/acme/namespaces/shop/evaluate/all", of(Scope::All)),
            (
                "/ofrep/v1/evaluate/flags/new-checkout?environment=production",
                Hot::Ofrep { key: "new-checkout" },
            ),
        ] {
            assert_eq!(found(Method::POST, uri).map(|(hot, _)| hot), Some(expected), "{uri}");
        }
    }

    #[test]
    fn templates_are_those_of_the_document() {
        let documents = [evaluate::routes(), ofrep::routes()].map(|routes| routes.split_for_parts().1);

        for uri in [
            "/api/v1/tenants/acme/namespaces/shop/evaluate",
            "/api/v1/tenants/acme/namespaces/shop/evaluate/all",
            "/ofrep/v1/evaluate/flags/new-checkout",
        ] {
            let (_, template) = found(Method::POST, uri).unwrap();
            let known = documents.iter().filter_map(|document| document.paths.paths.get(template));
            assert!(known.into_iter().any(|item| item.post.is_some()), "{template}");
        }
    }

    #[test]
    fn whatever_else_there_is_goes_to_the_router() {
        let evaluate = "/api/v1/tenants/acme/namespaces/shop/evaluate";
        for (method, uri) in [
            (Method::GET, evaluate),
            (Method::OPTIONS, evaluate),
            (Method::POST, "/api/v1/tenants/acme/namespaces/shop/evaluate/"),
            (Method::POST, "/api/v1/tenants/acme/namespaces/shop/evaluate/some"),
            (Method::POST, "/api/v1/tenants/acme/namespaces/shop/explain"),
            (Method::POST, "/api/v1/tenants/acme/namespaces/sh%6Fp/evaluate"),
            (Method::POST, "/api/v1/tenants//namespaces/shop/evaluate"),
            (Method::POST, "/api/v1/tenants/acme/namespaces//evaluate"),
            (Method::POST, "/api/v1/tenants/acme/x/namespaces/shop/evaluate"),
            (Method::POST, "/ofrep/v1/evaluate/flags"),
            (Method::POST, "/ofrep/v1/evaluate/flags/"),
            (Method::POST, "/ofrep/v1/evaluate/flags/a/b"),
            (Method::POST, "*"),
        ] {
            assert_eq!(found(method, uri), None, "{uri}");
        }
    }
}
