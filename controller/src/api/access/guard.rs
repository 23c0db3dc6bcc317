//! The one place that enforces the rules: in front of every route, before its handler.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State as Extract},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, request::Parts};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use url::form_urlencoded;

use super::{
    identity::{Identity, Role},
    policy::{Target, allows},
    routes::{Found, Object, Route, find},
};
use crate::{
    api::{State, error::ApiError, json},
    node::Node,
    store::StoreError,
};

/// Arguments that name nodes.
const NODE_ARGUMENTS: &[&str] = &["node", "node_uuid", "node_ident", "parent_node"];

/// Lets a request through to its handler, or answers why not.
pub(in crate::api) async fn guard(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    match admit(&state, request).await {
        // The place of a large body is held until the answer is there.
        Ok((request, _place)) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// 403, in Ironic's words.
pub(super) fn denied(action: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, format!("Access was denied to the following resource: {action}"))
}

type Admitted = (Request, Option<OwnedSemaphorePermit>);

async fn admit(state: &State, request: Request) -> Result<Admitted, ApiError> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = match find(request.method().as_str(), path) {
        Found::Route(route) => route,
        Found::OtherMethod => return Err(ApiError::method_not_allowed()),
        Found::Nothing => {
            tracing::error!(path, "a route without a rule is not served");
            let sentence = format!("The route {path} has no access rule.");
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, sentence));
        }
    };
    let (mut parts, request_body) = request.into_parts();
    let ident = first_parameter(&mut parts).await?;
    let request = Request::from_parts(parts, request_body);
    if route.object == Object::Public {
        let place = state.gate.large.place(route, request.headers()).await?;
        return Ok((request, place));
    }
    let Some(identity) = request.extensions().get::<Arc<Identity>>().cloned() else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Authentication required."));
    };
    let place = state.gate.large.place(route, request.headers()).await?;
    // The administrator of the system may do everything, and most requests are such.
    if identity.system && identity.has(Role::Admin) {
        return Ok((request, place));
    }
    let (parts, request_body) = request.into_parts();
    let case = Case { state, identity: &identity, route };
    let request_body = case.decide(&parts, &ident, request_body).await?;
    Ok((Request::from_parts(parts, request_body), place))
}

/// Which object the path names: always its first parameter.
async fn first_parameter(parts: &mut Parts) -> Result<String, ApiError> {
    let parameters = RawPathParams::from_request_parts(parts, &()).await;
    let parameters = parameters.map_err(|_| ApiError::bad("The path of the request is not UTF-8."))?;
    Ok(parameters.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// A request of somebody who may not do everything.
pub(super) struct Case<'a> {
    pub(super) state: &'a State,
    pub(super) identity: &'a Identity,
    pub(super) route: &'static Route,
}

impl Case<'_> {
    async fn decide(&self, parts: &Parts, ident: &str, request_body: Body) -> Result<Body, ApiError> {
        self.check_arguments(parts).await?;
        let action = self.route.action;
        match self.route.object {
            Object::Public => {}
            Object::System => self.demand(action, None)?,
            Object::List => self.check_list()?,
            Object::Node => {
                self.node(ident, action).await?;
            }
            Object::QueryNode => {
                let named = argument(parts, "node").or_else(|| argument(parts, "node_uuid"));
                self.node(&named.unwrap_or_default(), action).await?;
            }
            Object::NodeDelete => {
                let node = self.visible_node(ident).await?;
                if self.demand("baremetal:node:delete:self_owned_node", Some(&target(&node))).is_err() {
                    self.demand(action, Some(&target(&node)))?;
                }
            }
            Object::NodeAllocation => {
                let node = self.visible_node(ident).await?;
                self.allocation_of(&node).await?;
            }
            Object::Port | Object::Portgroup | Object::Connector | Object::VolumeTarget => {
                self.check_part(ident).await?;
                return self.with_body(request_body, async |body| self.check_moved(body).await).await;
            }
            Object::Allocation => self.check_allocation(ident).await?,
            Object::Runbook => self.check_runbook(ident, action).await?,
            Object::NodePatch => {
                let node = self.visible_node(ident).await?;
                return self.with_body(request_body, async |body| self.check_node_patch(&node, body)).await;
            }
            Object::Provision => {
                self.node(ident, action).await?;
                return self
                    .with_body(request_body, async |body| self.check_provision(ident, body).await)
                    .await;
            }
            Object::RunbookPatch => {
                self.check_runbook(ident, "baremetal:runbook:get").await?;
                return self
                    .with_body(request_body, async |body| self.check_runbook_patch(ident, body).await)
                    .await;
            }
            Object::OnNode | Object::NewNode | Object::NewAllocation | Object::NewRunbook => {
                return self.with_body(request_body, async |body| self.check_new(body).await).await;
            }
        }
        Ok(request_body)
    }

    /// 403 unless the rule allows it.
    pub(super) fn demand(&self, action: &str, target: Option<&Target>) -> Result<(), ApiError> {
        if allows(self.identity, action, target) { Ok(()) } else { Err(denied(action)) }
    }

    fn check_list(&self) -> Result<(), ApiError> {
        let all = format!("{}_all", self.route.action);
        if allows(self.identity, &all, None) {
            return Ok(());
        }
        if self.identity.project_id.is_none() {
            return Err(denied(&all));
        }
        self.demand(self.route.action, None)
    }

    /// Nodes that arguments name must be there for who asks.
    async fn check_arguments(&self, parts: &Parts) -> Result<(), ApiError> {
        for name in NODE_ARGUMENTS {
            if let Some(ident) = argument(parts, name) {
                self.visible_node(&ident).await?;
            }
        }
        if let Some(marker) = argument(parts, "marker").filter(|_| self.route.action == "baremetal:node:list")
        {
            self.visible_node(&marker).await?;
        }
        match argument(parts, "portgroup") {
            Some(portgroup) => self.check_portgroup(&portgroup).await,
            None => Ok(()),
        }
    }

    /// The node, if `action` may be done to it.
    pub(super) async fn node(&self, ident: &str, action: &str) -> Result<Node, ApiError> {
        let node = self.visible_node(ident).await?;
        self.demand(action, Some(&target(&node)))?;
        Ok(node)
    }

    /// The node, if who asks may know of it. A project that may not is told what it is told of no node at all.
    pub(super) async fn visible_node(&self, ident: &str) -> Result<Node, ApiError> {
        let node = self.state.store.node(ident).await?;
        if allows(self.identity, "baremetal:node:get", Some(&target(&node))) {
            return Ok(node);
        }
        Err(self.hidden("Node", ident, "baremetal:node:get"))
    }

    /// The answer for what may not be seen.
    pub(super) fn hidden(&self, what: &'static str, ident: &str, action: &str) -> ApiError {
        match self.identity.project_id {
            Some(_) => StoreError::NotFound { what, ident: ident.chars().take(255).collect() }.into(),
            None => denied(action),
        }
    }

    /// Looks into the body and hands it on. What is no JSON is the handler's to refuse.
    async fn with_body(
        &self,
        request_body: Body,
        check: impl AsyncFnOnce(&Value) -> Result<(), ApiError>,
    ) -> Result<Body, ApiError> {
        let most = match self.route.object {
            Object::Provision => json::MAX_BYTES_WITH_CONFIG_DRIVE,
            _ => json::MAX_BYTES,
        };
        let bytes = to_bytes(request_body, most).await.map_err(|error| json::unreadable(&error, most))?;
        let value = json::parse(&bytes)?;
        check(&value).await?;
        Ok(Body::from(bytes))
    }
}

/// Whose a node is.
pub(in crate::api) fn target(node: &Node) -> Target {
    Target { owner: node.owner.clone(), lessee: node.lessee.clone() }
}

fn argument(parts: &Parts, name: &str) -> Option<String> {
    let pairs = form_urlencoded::parse(parts.uri.query()?.as_bytes());
    // As the handlers read them: the last one counts.
    pairs.filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// The fields that a JSON patch touches, and the values it gives them.
pub(super) fn patched(patch: &Value) -> Vec<(&str, &Value)> {
    let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    operations
        .iter()
        .filter_map(|operation| {
            let path = operation.get("path")?.as_str()?.trim_start_matches('/');
            let removes = operation.get("op").is_some_and(|op| op == "remove");
            let value = operation.get("value").filter(|_| !removes);
            Some((path.split('/').next().unwrap_or(path), value.unwrap_or(&Value::Null)))
        })
        .collect()
}
