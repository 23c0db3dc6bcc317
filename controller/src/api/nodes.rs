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
    node_view::{Live, view},
    query::{Columns, Page, Query},
    resources::chassis,
    value::shortened,
    version::Version,
};
use crate::{
    node::{Node, ProvisionState},
    reconcile::RequestError,
    store::{NodeFilter, NodeQuery, StoreError},
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
    check_filters(&query, context.version)?;
    let columns = query.columns(NODE, NODE_DEFAULT, context.version, false)?;
    listing(&state, &context, query, columns, "nodes").await
}

async fn list_detail(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    check_filters(&query, context.version)?;
    let columns = Columns::all(NODE, context.version);
    listing(&state, &context, query, columns, "nodes/detail").await
}

/// Filters of a listing, and since when.
const FILTERS: &[(&str, u16)] = &[
    ("provision_state", 9),
    ("driver", 16),
    ("resource_class", 21),
    ("fault", 42),
    ("conductor_group", 46),
    ("conductor", 49),
    ("owner", 50),
    ("lessee", 65),
    ("shard", 82),
    ("sharded", 82),
    ("include_children", 83),
    ("parent_node", 83),
    ("instance_name", 104),
];

/// All that can be in `fault`.
const FAULTS: &[&str] = &["power failure", "clean failure", "rescue abort failure", "service failure"];

fn check_filters(query: &Query, version: Version) -> Result<(), ApiError> {
    match FILTERS.iter().find(|(name, since)| query.has(name) && !version.has(*since)) {
        Some((_, since)) => Err(ApiError::minimal(*since)),
        None => Ok(()),
    }
}

/// The nodes of a chassis.
pub(super) async fn list_of_chassis(
    state: &State,
    context: &Context,
    mut query: Query,
    chassis: Uuid,
    detail: bool,
) -> Result<Json<Value>, ApiError> {
    check_filters(&query, context.version)?;
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
    let filter = NodeFilter { chassis_uuid: Some(chassis.to_string()), ..NodeFilter::default() };
    Ok(!state.store.node_ids(&filter).await?.is_empty())
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
    page.check_marker()?;
    let filter = wanted(&mut query, state, context).await?;
    let mut arguments = query.finish()?;
    if columns.are_default {
        arguments.push(("fields", columns.names.join(",")));
    }
    let columns = columns.names;
    let nodes = match filter {
        Some(filter) => {
            let secret = ["driver_info", "instance_info", "driver_internal_info"];
            state
                .store
                .page_of_nodes(&NodeQuery {
                    filter,
                    without_secrets: !columns.iter().any(|name| secret.contains(name)),
                    sort_key: fields::find(NODE, page.sort_key()).map(|field| field.name),
                    descending: page.is_descending(),
                    marker: page.marker().map(str::to_owned),
                    limit: u32::try_from(page.limit()).ok(),
                })
                .await?
        }
        None => Vec::new(),
    };
    let full = nodes.len() == page.limit();
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

/// Which nodes a listing shows; `None` when there can be none.
async fn wanted(query: &mut Query, state: &State, context: &Context) -> Result<Option<NodeFilter>, ApiError> {
    let mut text = |name: &'static str| -> Result<Option<String>, ApiError> {
        let Some(text) = query.text(name) else { return Ok(None) };
        match fields::find(NODE, name) {
            Some(field) if !context.version.has(field.since) => {
                Err(ApiError::too_old(&format!("the argument {name}")))
            }
            _ => Ok(Some(text)),
        }
    };
    let mut filter = NodeFilter {
        fault: text("fault")?,
        project: context.viewer.project_of_list("node", text("project")?)?,
        conductor_group: text("conductor_group")?,
        owner: text("owner")?,
        lessee: text("lessee")?,
        instance_name: text("instance_name")?,
        chassis_uuid: text("chassis_uuid")?,
        driver: text("driver")?,
        resource_class: text("resource_class")?,
        instance_uuid: text("instance_uuid")?,
        shards: text("shard")?.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        description_contains: text("description_contains")?,
        ..NodeFilter::default()
    };
    if let Some(fault) = filter.fault.as_ref().filter(|fault| !FAULTS.contains(&fault.as_str())) {
        return Err(ApiError::bad(format!(
            "Unrecognized fault \"{}\" is specified, allowed faults are ('{}')",
            shortened(fault),
            FAULTS.join("', '")
        )));
    }
    if let Some(uuid) = filter.instance_uuid.as_ref().filter(|uuid| uuid.parse::<Uuid>().is_err()) {
        return Err(ApiError::bad(format!("Expected UUID for instance_uuid: {}", shortened(uuid))));
    }
    if let Some(uuid) = &filter.chassis_uuid {
        chassis::exists(state, uuid).await.map_err(|error| error.with_status(StatusCode::NOT_FOUND))?;
    }
    filter.associated = query.boolean("associated")?;
    filter.maintenance = query.boolean("maintenance")?;
    filter.retired = query.boolean("retired")?;
    filter.sharded = query.boolean("sharded")?;
    if let Some(name) = query.text("provision_state") {
        let state = name.parse::<ProvisionState>();
        let state = state.map_err(|_| ApiError::bad(format!("Provision state \"{name}\" is not valid")))?;
        filter.provision_states.push(state);
    }
    filter.parents_only = !query.boolean("include_children")?.unwrap_or(false);
    if let Some(ident) = query.text("parent_node") {
        filter.parent_node = Some(state.store.node(&ident).await?.uuid.to_string());
        filter.parents_only = false;
    }
    let ours = query.text("conductor").is_none_or(|name| name == state.hostname);
    Ok(ours.then_some(filter))
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
    let group = state.engine.conductor_group();
    let mut node = node_patch::create(body.object()?, context.version, group)?;
    node_patch::check_conductor_group(&node, group)?;
    node.owner = context.viewer.owner_of_new(node.owner.take());
    resolve_parent(&state, &mut node).await?;
    if let Some(uuid) = &node.chassis_uuid {
        chassis::exists(&state, uuid).await?;
    }
    state.store.create_node(&node).await.map_err(taken)?;
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
    if patch.touches("conductor_group") || patch.touches("driver") {
        node_patch::check_conductor_group(&trial, state.engine.conductor_group())?;
    }
    if let Some(uuid) = trial.chassis_uuid.as_ref().filter(|_| patch.touches("chassis_uuid")) {
        chassis::exists(&state, uuid).await?;
    }
    let parent = if patch.touches("parent_node") {
        resolve_parent(&state, &mut trial).await?;
        Some(trial.parent_node)
    } else {
        None
    };
    let node = edit(&state, &context, node.uuid, move |node| {
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

/// Ironic writes UUID where the field is `uuid`.
fn taken(error: StoreError) -> ApiError {
    match error {
        StoreError::Duplicate { field: "uuid", value, .. } => {
            ApiError::conflict(format!("A node with UUID {value} already exists."))
        }
        error => error.into(),
    }
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
    context: &Context,
    node: NodeId,
    change: impl FnOnce(&mut Node) -> Result<(), ApiError> + Send + 'static,
) -> Result<Node, ApiError> {
    let engine = context.engine(state);
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
        StoreError::NotFound { .. } => ApiError::bad(format!(
            "Unable to apply the requested parent_node '{}'. Requested value was invalid.",
            shortened(ident)
        )),
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
