//! `/v1/nodes`: create, list, show, change, delete.

use std::sync::{Arc, OnceLock};

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use http::{StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    State,
    error::ApiError,
    fields::{self, NODE, NODE_DEFAULT, NODE_UNSORTABLE},
    json::JsonBody,
    layers::to_the_end,
    links::Context,
    node_patch::{self, NodePatch},
    node_view::{Live, document, view},
    query::{Columns, Page, Query},
    resources::chassis,
};
use crate::{
    node::{Node, ProvisionState},
    reconcile::RequestError,
    store::{NodeFilter, StoreError},
};

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes", get(list).post(create))
        .route("/v1/nodes/detail", get(list_detail))
        .route("/v1/nodes/{node}", get(show).patch(change).delete(delete))
}

/// The node of that UUID or (since 1.5) name.
pub(super) async fn find(state: &State, context: &Context, ident: &str) -> Result<Node, ApiError> {
    if !context.version.has(5) && ident.parse::<NodeId>().is_err() {
        return Err(ApiError::not_found(format!("Node {ident} could not be found.")));
    }
    Ok(state.store.node(ident).await?)
}

// === list ===

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = query.columns(NODE, NODE_DEFAULT, context.version, false)?;
    listing(&state, &context, query, columns, "nodes").await
}

async fn list_detail(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = Columns::all(NODE, context.version);
    listing(&state, &context, query, columns, "nodes/detail").await
}

/// The nodes of a chassis.
pub(super) async fn list_of_chassis(
    state: &State,
    context: &Context,
    mut query: Query,
    chassis: Uuid,
    detail: bool,
) -> Result<Json<Value>, ApiError> {
    query.preset("chassis_uuid", chassis.to_string());
    let (path, columns) = if detail {
        (format!("chassis/{chassis}/nodes/detail"), Columns::all(NODE, context.version))
    } else {
        let columns = query.columns(NODE, NODE_DEFAULT, context.version, false)?;
        (format!("chassis/{chassis}/nodes"), columns)
    };
    listing(state, context, query, columns, &path).await
}

/// Whether a chassis has nodes.
pub(super) async fn any_in_chassis(state: &State, chassis: Uuid) -> Result<bool, ApiError> {
    let (nodes, chassis) = (state.store.nodes(&NodeFilter::default()).await?, chassis.to_string());
    Ok(nodes.iter().any(|node| node.chassis_uuid.as_deref() == Some(chassis.as_str())))
}

async fn listing(
    state: &State,
    context: &Context,
    mut query: Query,
    columns: Columns,
    path: &str,
) -> Result<Json<Value>, ApiError> {
    let sortable: Vec<_> =
        fields::known(NODE, context.version).into_iter().filter(|n| !NODE_UNSORTABLE.contains(n)).collect();
    let page: Page = query.page(state.config.max_limit, &sortable)?;
    let wanted = Wanted::read(&mut query, state, context).await?;
    let mut arguments = query.finish()?;
    if columns.are_default {
        arguments.push(("fields", columns.names.join(",")));
    }
    let columns = columns.names;
    // A marker may name a node that the filter no longer matches.
    let filter = if page.has_marker() { NodeFilter::default() } else { wanted.filter.clone() };
    let nodes = state.store.nodes(&filter).await?;
    let key = |node: &Node, name: &str| document(node).remove(name).unwrap_or_default();
    let (nodes, full) = page
        .cut(nodes, |node| node.uuid.to_string(), key, |node| wanted.matches(node))
        .map_err(|marker| ApiError::not_found(format!("Node {marker} could not be found.")))?;
    let mut rows = Vec::with_capacity(nodes.len());
    for node in &nodes {
        let live = if columns.contains(&"driver_internal_info") {
            Live::of(state, node).await
        } else {
            Live::default()
        };
        rows.push(view(state, context, node, &live, &columns));
    }
    let mut answer = json!({"nodes": rows});
    if let Some(last) = nodes.last().filter(|_| full) {
        let next = page.next(context, path, &arguments, &last.uuid.to_string());
        answer["next"] = next.into();
    }
    Ok(Json(answer))
}

/// Which nodes a listing shows.
#[derive(Debug, Default)]
struct Wanted {
    filter: NodeFilter,
    /// A field and the text it must have.
    texts: Vec<(&'static str, String)>,
    retired: Option<bool>,
    description_contains: Option<String>,
    children: bool,
    conductor: bool,
}

impl Wanted {
    async fn read(query: &mut Query, state: &State, context: &Context) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for name in [
            "fault",
            "conductor_group",
            "owner",
            "lessee",
            "shard",
            "instance_name",
            "chassis_uuid",
            "driver",
            "resource_class",
            "instance_uuid",
        ] {
            let Some(text) = query.text(name) else { continue };
            if fields::find(NODE, name).is_some_and(|field| !context.version.has(field.since)) {
                return Err(ApiError::too_old(&format!("the argument {name}")));
            }
            wanted.texts.push((name, text));
        }
        if let Some((_, uuid)) = wanted.texts.iter().find(|(name, _)| *name == "chassis_uuid") {
            chassis::exists(state, uuid).await.map_err(|error| error.with_status(StatusCode::NOT_FOUND))?;
        }
        let text = |name: &str| wanted.texts.iter().find(|(n, _)| *n == name).map(|(_, text)| text.clone());
        let filter = NodeFilter {
            provision_states: Vec::new(),
            driver: text("driver"),
            resource_class: text("resource_class"),
            instance_uuid: text("instance_uuid"),
            associated: query.boolean("associated")?,
            maintenance: query.boolean("maintenance")?,
        };
        wanted.filter = filter;
        if let Some(name) = query.text("provision_state") {
            let state = name.parse::<ProvisionState>();
            let state =
                state.map_err(|_| ApiError::bad(format!("Provision state \"{name}\" is not valid")))?;
            wanted.filter.provision_states.push(state);
        }
        wanted.retired = query.boolean("retired")?;
        wanted.description_contains = query.text("description_contains").map(|text| text.to_lowercase());
        wanted.conductor = query.text("conductor").is_none_or(|name| name == state.hostname);
        wanted.children = query.boolean("include_children")?.unwrap_or(!context.version.has(83));
        if let Some(ident) = query.text("parent_node") {
            let parent = state.store.node(&ident).await?;
            wanted.texts.push(("parent_node", parent.uuid.to_string()));
            wanted.children = true;
        }
        Ok(wanted)
    }

    fn matches(&self, node: &Node) -> bool {
        let is = |asked: Option<bool>, actual: bool| asked.is_none_or(|asked| asked == actual);
        let states = &self.filter.provision_states;
        self.conductor
            && (self.children || node.parent_node.is_none())
            && (states.is_empty() || states.contains(&node.provision_state))
            && is(self.filter.associated, node.instance_uuid.is_some())
            && is(self.filter.maintenance, node.maintenance)
            && is(self.retired, node.retired)
            && self.description_contains.as_ref().is_none_or(|part| {
                node.description.as_ref().is_some_and(|text| text.to_lowercase().contains(part))
            })
            && self.texts.iter().all(|(name, text)| field_text(node, name) == Some(text.as_str()))
    }
}

fn field_text<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    match name {
        "fault" => node.fault.as_deref(),
        "conductor_group" => Some(&node.conductor_group),
        "owner" => node.owner.as_deref(),
        "lessee" => node.lessee.as_deref(),
        "shard" => node.shard.as_deref(),
        "instance_name" => node.instance_name.as_deref(),
        "chassis_uuid" => node.chassis_uuid.as_deref(),
        "driver" => Some(&node.driver),
        "resource_class" => node.resource_class.as_deref(),
        "instance_uuid" => node.instance_uuid.as_deref(),
        "parent_node" => node.parent_node.as_deref(),
        _ => None,
    }
}

// === one node ===

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = match query.list("fields") {
        Some(_) if !context.version.has(8) => return Err(ApiError::too_old("the argument fields")),
        Some(names) => fields::requested(NODE, &names, context.version)?,
        None => fields::known(NODE, context.version),
    };
    query.finish()?;
    let node = find(&state, &context, &ident).await?;
    let live = Live::of(&state, &node).await;
    Ok(Json(view(&state, &context, &node, &live, &columns)))
}

async fn create(
    Extract(state): Extract<State>,
    context: Context,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut node = node_patch::create(body.object()?, context.version)?;
    resolve_parent(&state, &mut node).await?;
    if let Some(uuid) = &node.chassis_uuid {
        chassis::exists(&state, uuid).await?;
    }
    state.store.create_node(&node).await?;
    let node = state.store.node(&node.uuid.to_string()).await?;
    state.engine.poke(node.uuid);
    let location = context.url(&format!("nodes/{}", node.uuid));
    let answer = whole(&state, &context, &node);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

async fn change(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let reset = query.boolean("reset_interfaces")?;
    if reset.is_some() && !context.version.has(45) {
        return Err(ApiError::too_old("the argument reset_interfaces"));
    }
    query.finish()?;
    let patch = NodePatch::parse(body, context.version, reset.unwrap_or(false))?;
    let node = find(&state, &context, &ident).await?;
    // What is refused anyway is refused without waiting for who works on the node.
    let mut trial = node.clone();
    patch.apply(&mut trial)?;
    if let Some(uuid) = trial.chassis_uuid.as_ref().filter(|_| patch.touches("chassis_uuid")) {
        chassis::exists(&state, uuid).await?;
    }
    let parent = if patch.touches("parent_node") {
        resolve_parent(&state, &mut trial).await?;
        Some(trial.parent_node)
    } else {
        None
    };
    let node = edit(&state, node.uuid, move |node| {
        patch.apply(node)?;
        if let Some(parent) = parent {
            node.parent_node = parent;
        }
        Ok(())
    })
    .await?;
    Ok(Json(whole(&state, &context, &node)))
}

async fn delete(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&state, &context, &ident).await?;
    refuse_protected(&node)?;
    let engine = state.engine.clone();
    to_the_end(async move { engine.delete(node.uuid).await.map_err(not_deletable) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A node that may not be deleted now is a conflict, not a malformed request.
fn not_deletable(error: RequestError) -> ApiError {
    match error {
        RequestError::InvalidState { node, state, .. } => {
            let allowed = ProvisionState::ALL.iter().filter(|state| state.delete_allowed());
            let allowed: Vec<_> = allowed.map(|state| format!("'{state}'")).collect();
            ApiError::conflict(format!(
                "Can not delete node \"{node}\" while it is in provision state \"{state}\". Valid provision \
                 states to perform deletion are: \"({})\", or set the node into maintenance mode",
                allowed.join(", ")
            ))
        }
        RequestError::Invalid(_) => ApiError::from(error).with_status(StatusCode::CONFLICT),
        error => error.into(),
    }
}

/// Ironic answers 403 where a node's protection is in the way.
pub(super) fn refuse_protected(node: &Node) -> Result<(), ApiError> {
    if node.protected {
        let sentence =
            format!("Node {} is protected and can not be undeployed, rebuilt or deleted.", node.uuid);
        return Err(ApiError::new(StatusCode::FORBIDDEN, sentence));
    }
    Ok(())
}

/// Changes a node through the engine; a refusal of `change` is the answer.
pub(super) async fn edit(
    state: &State,
    node: NodeId,
    change: impl FnOnce(&mut Node) -> Result<(), ApiError> + Send + 'static,
) -> Result<Node, ApiError> {
    let engine = state.engine.clone();
    to_the_end(async move {
        let refusal: Arc<OnceLock<ApiError>> = Arc::default();
        let slot = Arc::clone(&refusal);
        let edited = engine
            .edit(node, move |node| {
                change(node).map_err(|error| {
                    let _ = slot.set(error);
                    RequestError::Invalid("The change was refused.".to_owned())
                })
            })
            .await;
        edited.map_err(|error| match Arc::into_inner(refusal).and_then(OnceLock::into_inner) {
            Some(refusal) => refusal,
            None => error.into(),
        })
    })
    .await
}

/// A node's parent is stored as a UUID and must be there.
async fn resolve_parent(state: &State, node: &mut Node) -> Result<(), ApiError> {
    let Some(ident) = &node.parent_node else { return Ok(()) };
    let parent = state.store.node(ident).await.map_err(|error| match error {
        StoreError::NotFound { .. } => ApiError::bad(format!("The parent_node {ident} could not be found.")),
        error => error.into(),
    })?;
    if parent.uuid == node.uuid {
        return Err(ApiError::bad("A node cannot be its own parent."));
    }
    node.parent_node = Some(parent.uuid.to_string());
    Ok(())
}

fn whole(state: &State, context: &Context, node: &Node) -> Value {
    view(state, context, node, &Live::default(), &fields::known(NODE, context.version))
}
