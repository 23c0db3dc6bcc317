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
    error::ApiError,
    fields::{self, Access, PORT, PORT_DEFAULT, PORT_UNSORTABLE},
    json::JsonBody,
    layers::to_the_end,
    links::Context,
    node_view::{pick, timestamp},
    nodes::find,
    patch::Operation,
    query::Query,
    value::{boolean, dictionary, mac_address, shortened, text, uuid},
};
use crate::{node::Port, store::StoreError};

/// Fields a patch may change, in the order of Ironic's message.
const PATCHABLE: &str = "address, description, extra, is_smartnic, local_link_connection, name, node_uuid, physical_network, pxe_enabled";

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
    node: Option<String>,
    detail: bool,
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    listing(&state, &context, query, Scope { path: "ports".into(), node: None, detail: false }).await
}

async fn list_detail(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    listing(&state, &context, query, Scope { path: "ports/detail".into(), node: None, detail: true }).await
}

async fn list_of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(node): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: format!("nodes/{node}/ports"), node: Some(node), detail: false };
    listing(&state, &context, query, scope).await
}

async fn list_of_node_detail(
    Extract(state): Extract<State>,
    context: Context,
    Path(node): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: format!("nodes/{node}/ports/detail"), node: Some(node), detail: true };
    listing(&state, &context, query, scope).await
}

async fn listing(
    state: &State,
    context: &Context,
    mut query: Query,
    scope: Scope,
) -> Result<Json<Value>, ApiError> {
    let detail = query.boolean("detail")?.unwrap_or(scope.detail);
    let columns = match query.list("fields") {
        Some(_) if detail => {
            return Err(ApiError::bad("Can not specify ?detail=True and fields in the same request."));
        }
        Some(names) => fields::requested(PORT, &names, context.version)?,
        None if detail => fields::known(PORT, context.version),
        None => fields::defaults(PORT, PORT_DEFAULT, context.version),
    };
    let sortable: Vec<_> =
        fields::known(PORT, context.version).into_iter().filter(|n| !PORT_UNSORTABLE.contains(n)).collect();
    let page = query.page(state.config.max_limit, &sortable)?;
    let node = query.text("node").or_else(|| query.text("node_uuid")).or(scope.node);
    let address = query.text("address");
    let arguments = query.finish()?;
    let node = match node {
        Some(ident) => Some(find(state, context, &ident).await?.uuid),
        None => None,
    };
    let address = address.map(|text| mac_address(&text.into()).map_err(ApiError::bad)).transpose()?;
    let ports = state.store.ports(node, address.as_deref()).await?;
    let key = |port: &Port, name: &str| document(port).remove(name).unwrap_or_default();
    let (ports, full) = page
        .cut(ports, |port| port.uuid.to_string(), key, |_| true)
        .map_err(|marker| ApiError::not_found(format!("Port {marker} could not be found.")))?;
    let rows: Vec<_> = ports.iter().map(|port| view(context, port, &columns)).collect();
    let mut answer = json!({"ports": rows});
    if let Some(last) = ports.last().filter(|_| full) {
        answer["next"] = page.next(context, &scope.path, &arguments, &last.uuid.to_string()).into();
    }
    Ok(Json(answer))
}

// === one port ===

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = match query.list("fields") {
        Some(names) => fields::requested(PORT, &names, context.version)?,
        None => fields::known(PORT, context.version),
    };
    query.finish()?;
    let port = state.store.port(&ident).await?;
    Ok(Json(view(&context, &port, &columns)))
}

async fn create(
    Extract(state): Extract<State>,
    context: Context,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let body = body.object()?;
    for required in ["address", "node_uuid"] {
        if body.get(required).is_none_or(Value::is_null) {
            let sentence = format!("Schema error for port: '{required}' is a required property");
            return Err(ApiError::bad(sentence));
        }
    }
    let mut port = Port {
        uuid: Uuid::new_v4(),
        node: NodeId(Uuid::nil()),
        address: String::new(),
        name: None,
        description: None,
        pxe_enabled: true,
        physical_network: None,
        local_link_connection: Map::new(),
        extra: Map::new(),
        internal_info: Map::new(),
        is_smartnic: false,
        created_at: Utc::now(),
        updated_at: None,
    };
    for (field, value) in body {
        if fields::settable(PORT, &field, Access::Create, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Schema error for port: Additional properties are not allowed ('{}' was unexpected)",
                shortened(&field)
            )));
        }
        set(&state, &mut port, &field, value).await?;
    }
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

async fn change(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let operations =
        Operation::parse_all(body, context.version).map_err(|error| ApiError::bad(error.to_string()))?;
    for operation in &operations {
        if fields::settable(PORT, operation.field(), Access::Patch, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Cannot patch {}. Only the following can be updated: {PATCHABLE}",
                operation.path()
            )));
        }
    }
    let mut port = state.store.port(&ident).await?;
    let before = document(&port);
    let mut after = before.clone();
    for operation in &operations {
        operation.apply(&mut after).map_err(|error| ApiError::bad(error.to_string()))?;
    }
    for (field, value) in after {
        if before.get(&field) != Some(&value) {
            set(&state, &mut port, &field, value).await?;
        }
    }
    let store = state.store.clone();
    let port = to_the_end(async move {
        store.update_port(&port).await.map_err(taken)?;
        Ok(store.port(&port.uuid.to_string()).await?)
    })
    .await?;
    Ok(Json(view(&context, &port, &fields::known(PORT, context.version))))
}

async fn delete(Extract(state): Extract<State>, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let port = state.store.port(&ident).await?;
    state.store.delete_port(&port.uuid.to_string()).await?;
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

// === fields ===

/// Sets one field; `null` is its default.
async fn set(state: &State, port: &mut Port, field: &str, value: Value) -> Result<(), ApiError> {
    if field == "node_uuid" {
        let ident = text(field, value, 255).map_err(ApiError::bad)?.unwrap_or_default();
        let node = state.store.node(&ident).await.map_err(|error| match error {
            // The path is right, what it says is not.
            StoreError::NotFound { .. } => ApiError::from(error).with_status(StatusCode::BAD_REQUEST),
            error => error.into(),
        })?;
        port.node = node.uuid;
        return Ok(());
    }
    set_plain(port, field, value).map_err(ApiError::bad)
}

fn set_plain(port: &mut Port, field: &str, value: Value) -> Result<(), String> {
    match field {
        "uuid" => {
            if let Some(given) = uuid(field, value)? {
                port.uuid = given;
            }
        }
        "address" => port.address = mac_address(&value)?,
        "name" => port.name = text(field, value, 255)?,
        "description" => port.description = text(field, value, 255)?,
        "physical_network" => port.physical_network = text(field, value, 64)?,
        "pxe_enabled" => port.pxe_enabled = boolean(field, &value)?.unwrap_or(true),
        "is_smartnic" => port.is_smartnic = boolean(field, &value)?.unwrap_or_default(),
        "local_link_connection" => port.local_link_connection = dictionary(field, value)?,
        "extra" => port.extra = dictionary(field, value)?,
        _ => return Err(format!("{field} cannot be set.")),
    }
    Ok(())
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
    all.insert("available_for_dynamic_portgroup".into(), true.into());
    all.insert("links".into(), context.links(&format!("ports/{}", port.uuid)));
    pick(all, columns)
}
