//! `/v1/ports` and `/v1/nodes/X/ports`: network interfaces of nodes.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use chrono::Utc;
use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    State,
    access::Viewer,
    error::ApiError,
    fields::{self, Access, PORT, PORT_DEFAULT, PORT_UNSORTABLE},
    json::JsonBody,
    layers::to_the_end,
    links::Context,
    node_view::{pick, timestamp},
    node_vifs,
    nodes::find as find_node,
    patch::Operation,
    port_fields::{check, check_name, set},
    query::{Columns, Query},
    resources::{NodesWanted, find_portgroup},
    value::shortened,
};
use crate::{node::Port, store::StoreError};

/// Fields a patch may change, in the order of Ironic's message.
const PATCHABLE: &str = "address, extra, is_smartnic, local_link_connection, node_uuid, physical_network, \
    portgroup_uuid, pxe_enabled, name, description, vendor, category, available_for_dynamic_portgroup";

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/ports", get(list).post(create))
        .route("/v1/ports/detail", get(list_detail))
        .route("/v1/ports/{port}", get(show).patch(change).delete(delete))
        .route("/v1/nodes/{node}/ports", get(list_of_node))
        .route("/v1/nodes/{node}/ports/detail", get(list_of_node_detail))
}

// === list ===

/// Where a listing was asked for.
struct Scope {
    path: String,
    portgroup: Option<Uuid>,
    detail: bool,
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: "ports".into(), portgroup: None, detail: false };
    listing(&state, &context, query, scope).await
}

async fn list_detail(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: "ports/detail".into(), portgroup: None, detail: true };
    listing(&state, &context, query, scope).await
}

async fn list_of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(node): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: format!("nodes/{node}/ports"), portgroup: None, detail: false };
    query.preset("node", node);
    listing(&state, &context, query, scope).await
}

async fn list_of_node_detail(
    Extract(state): Extract<State>,
    context: Context,
    Path(node): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: format!("nodes/{node}/ports/detail"), portgroup: None, detail: true };
    query.preset("node", node);
    listing(&state, &context, query, scope).await
}

/// The ports of a port group.
pub(super) async fn list_of_portgroup(
    state: &State,
    context: &Context,
    query: Query,
    portgroup: Uuid,
    detail: bool,
) -> Result<Json<Value>, ApiError> {
    let path = format!("portgroups/{portgroup}/ports{}", if detail { "/detail" } else { "" });
    listing(state, context, query, Scope { path, portgroup: Some(portgroup), detail }).await
}

async fn listing(
    state: &State,
    context: &Context,
    mut query: Query,
    scope: Scope,
) -> Result<Json<Value>, ApiError> {
    let columns = match scope.detail {
        true => Columns::all(PORT, context.version),
        false => query.columns(PORT, PORT_DEFAULT, context.version, false)?,
    };
    let sortable: Vec<_> =
        fields::known(PORT, context.version).into_iter().filter(|n| !PORT_UNSORTABLE.contains(n)).collect();
    let page = query.page(state.config.max_limit, &sortable)?;
    page.check_marker()?;
    let portgroup = match query.text("portgroup") {
        Some(_) if !context.version.has(24) => return Err(ApiError::too_old("the argument portgroup")),
        Some(ident) => Some(find_portgroup(state, &ident).await?.uuid),
        None => scope.portgroup,
    };
    if let Some(uuid) = query.text("node_uuid") {
        if uuid.parse::<Uuid>().is_err() {
            return Err(ApiError::bad(format!("Expected UUID for node_uuid: {}", shortened(&uuid))));
        }
        query.preset("node", uuid);
    }
    let wanted = NodesWanted::read(state, context, &mut query, 82).await?;
    let mut arguments = query.finish()?;
    if columns.are_default {
        arguments.push(("fields", columns.names.join(",")));
    }
    let mut ports = state.store.ports(wanted.only_node(), wanted.address()).await?;
    if let Some(nodes) = context.viewer.nodes(state).await? {
        ports.retain(|port| nodes.contains(&port.node));
    }
    let key = |port: &Port, name: &str| document(port).remove(name).unwrap_or_default();
    let keep = |port: &Port| {
        wanted.matches(port.node, Some(&port.address))
            && portgroup.is_none_or(|group| port.portgroup == Some(group))
    };
    let (ports, full) = page
        .cut(ports, |port| port.uuid.to_string(), key, keep)
        .map_err(|marker| ApiError::not_found(format!("Port {marker} could not be found.")))?;
    let rows: Vec<_> = ports.iter().map(|port| view(context, port, &columns.names)).collect();
    let mut answer = json!({"ports": rows});
    if let Some(last) = ports.last().filter(|_| full) {
        answer["next"] = page.next(context, &scope.path, &arguments, &last.uuid.to_string()).into();
    }
    Ok(Json(answer))
}

// === one port ===

/// The port of that UUID or (since 1.88) name.
async fn find(state: &State, context: &Context, ident: &str) -> Result<Port, ApiError> {
    if ident.parse::<Uuid>().is_ok() || !context.version.has(88) {
        return Ok(state.store.port(ident).await?);
    }
    let ports = state.store.ports(None, None).await?;
    let found = ports.into_iter().find(|port| port.name.as_deref() == Some(ident));
    found.ok_or_else(|| ApiError::not_found(format!("Port {} could not be found.", shortened(ident))))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = match query.list("fields") {
        Some(_) if !context.version.has(8) => return Err(ApiError::too_old("the argument fields")),
        Some(names) => fields::requested(PORT, &names, context.version)?,
        None => fields::known(PORT, context.version),
    };
    query.finish()?;
    let port = find(&state, &context, &ident).await?;
    Ok(Json(view(&context, &port, &columns)))
}

async fn create(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
    body: JsonBody,
) -> Result<Response, ApiError> {
    query.finish()?;
    let mut body = body.object()?;
    if let Some(ident) = body.remove("node_ident") {
        name_node(&state, &context, &mut body, &ident).await?;
    }
    for required in ["address", "node_uuid"] {
        if body.get(required).is_none_or(Value::is_null) {
            let sentence = format!("Schema error for port: '{required}' is a required property");
            return Err(ApiError::bad(sentence));
        }
    }
    let mut port = Port::new(NodeId(Uuid::nil()), String::new());
    for (field, value) in body {
        if fields::settable(PORT, &field, Access::Create, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Schema error for port: Additional properties are not allowed ('{}' was unexpected)",
                shortened(&field)
            )));
        }
        set(&state, &mut port, &field, value, context.version).await?;
    }
    check_name(&state, &port).await?;
    check(&state, None, &port).await?;
    let store = state.store.clone();
    let port = to_the_end(async move {
        store.create_port(&port).await.map_err(taken)?;
        Ok(store.port(&port.uuid.to_string()).await?)
    })
    .await?;
    let location = context.url(&format!("ports/{}", port.uuid));
    let answer = view(&context, &port, &fields::known(PORT, context.version));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// `node_ident` of a new port, since 1.94: the node's name or UUID, in place of `node_uuid`.
async fn name_node(
    state: &State,
    context: &Context,
    body: &mut Map<String, Value>,
    ident: &Value,
) -> Result<(), ApiError> {
    if !context.version.has(94) {
        return Err(ApiError::too_old("the field node_ident"));
    }
    let ident = ident.as_str().ok_or_else(|| ApiError::bad("node_ident must be a string."))?;
    if body.contains_key("node_uuid") {
        return Err(ApiError::bad("node_ident and node_uuid cannot be given together."));
    }
    let node = find_node(state, context, ident).await.map_err(|e| e.with_status(StatusCode::BAD_REQUEST))?;
    body.insert("node_uuid".to_owned(), node.uuid.to_string().into());
    Ok(())
}

async fn change(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let operations =
        Operation::parse_all(body, context.version).map_err(|error| ApiError::bad(error.to_string()))?;
    for operation in &operations {
        if fields::settable(PORT, operation.field(), Access::Patch, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Cannot patch {}. Only the following can be updated: {PATCHABLE}",
                shortened(operation.path())
            )));
        }
    }
    let node = find(&state, &context, &ident).await?.node;
    let version = context.version;
    let port = to_the_end(async move {
        let _guard = state.engine.hold(node).await?;
        let mut port =
            find(&state, &Context { version, base: String::new(), viewer: Viewer::everybody() }, &ident)
                .await?;
        let old = port.clone();
        let before = document(&port);
        let mut after = before.clone();
        for operation in &operations {
            operation.apply(&mut after).map_err(|error| ApiError::bad(error.to_string()))?;
        }
        for (field, value) in after {
            if before.get(&field) != Some(&value) {
                set(&state, &mut port, &field, value, version).await?;
            }
        }
        if port == old {
            return Ok(port);
        }
        if port.name != old.name {
            check_name(&state, &port).await?;
        }
        check(&state, Some(&old), &port).await?;
        port.updated_at = Some(Utc::now());
        state.store.update_port(&port).await.map_err(taken)?;
        Ok(state.store.port(&port.uuid.to_string()).await?)
    })
    .await?;
    Ok(Json(view(&context, &port, &fields::known(PORT, context.version))))
}

async fn delete(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let port = find(&state, &context, &ident).await?;
    to_the_end(async move {
        let _guard = state.engine.hold(port.node).await?;
        let node = state.store.node(&port.node.to_string()).await?;
        if let Some(vif) = node_vifs::vif_of(&node, &port).filter(|_| !node.maintenance) {
            return Err(ApiError::conflict(format!(
                "Cannot delete the port {} as it is bound to VIF {vif} for use.",
                port.uuid
            )));
        }
        Ok(state.store.delete_port(&port.uuid.to_string()).await?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ironic calls a port's address by its full name.
fn taken(error: StoreError) -> ApiError {
    match error {
        StoreError::Duplicate { field: "address", value, .. } => {
            ApiError::conflict(format!("A port with MAC address {value} already exists."))
        }
        error => error.into(),
    }
}

/// A port's own fields under their API names.
fn document(port: &Port) -> Map<String, Value> {
    let mut document = match serde_json::to_value(port) {
        Ok(Value::Object(document)) => document,
        // A struct of JSON values always is an object.
        _ => Map::new(),
    };
    document.remove("node");
    document.insert("node_uuid".into(), port.node.to_string().into());
    document
}

fn view(context: &Context, port: &Port, columns: &[&str]) -> Value {
    let mut all = document(port);
    all.insert("created_at".into(), timestamp(port.created_at).into());
    all.insert("updated_at".into(), port.updated_at.map(timestamp).into());
    all.insert("links".into(), context.links(&format!("ports/{}", port.uuid)));
    pick(all, columns)
}
