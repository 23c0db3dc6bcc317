//! `/v1/allocations` and `/v1/nodes/X/allocation`: asking for any node that fits.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    State,
    error::ApiError,
    fields::{self, ALLOCATION, Access},
    json::JsonBody,
    layers::{since, to_the_end},
    links::Context,
    node_view::{pick, timestamp},
    nodes::find,
    patch::Operation,
    query::Query,
    value::{Wrong, dictionary, logical_name, shortened, text, trait_name, uuid, wrong_type},
};
use crate::{
    node::{
        Dictionary, Node,
        allocation::{Allocation, AllocationState},
    },
    reconcile::RequestError,
    store::{StoreError, Stored},
};

/// Fields that no listing is sorted by.
const UNSORTABLE: &[&str] = &["extra", "candidate_nodes", "traits", "links", "node_uuid"];
/// Most nodes or traits that a request may name.
const MAX_ITEMS: usize = 1000;

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/allocations", since(52, get(list).post(create)))
        .route("/v1/allocations/{allocation}", since(52, get(show).patch(change).delete(delete)))
        .route("/v1/nodes/{node}/allocation", since(52, get(show_of_node).delete(delete_of_node)))
}

// === list ===

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = columns(&mut query, &context)?;
    let known = fields::known(ALLOCATION, context.version);
    let sortable: Vec<_> = known.into_iter().filter(|name| !UNSORTABLE.contains(name)).collect();
    let page = query.page(state.config.max_limit, &sortable)?;
    let (node, class) = (query.text("node"), query.text("resource_class"));
    let (wanted, owner) = (query.text("state"), query.text("owner"));
    if owner.is_some() && !context.version.has(60) {
        return Err(ApiError::too_old("the argument owner"));
    }
    let arguments = query.finish()?;
    let owner = context.viewer.project_of_list("allocation", owner)?;
    let node = match node {
        Some(ident) => Some(node_named(&state, &context, &ident).await?.uuid),
        None => None,
    };
    let rows = state.store.resources::<Allocation>(node).await?;
    let key = |row: &Stored<Allocation>, name: &str| document(row).remove(name).unwrap_or_default();
    let is_so = |asked: &Option<String>, value: Option<&str>| asked.is_none() || asked.as_deref() == value;
    let (rows, full) = page
        .cut(
            rows,
            |row| row.value.uuid.to_string(),
            key,
            |row| {
                is_so(&class, row.value.resource_class.as_deref())
                    && is_so(&wanted, Some(row.value.state.as_str()))
                    && is_so(&owner, row.value.owner.as_deref())
            },
        )
        .map_err(|marker| ApiError::not_found(format!("Allocation {marker} could not be found.")))?;
    let views: Vec<_> = rows.iter().map(|row| view(&context, row, &columns)).collect();
    let mut answer = json!({"allocations": views});
    if let Some(last) = rows.last().filter(|_| full) {
        answer["next"] = page.next(&context, "allocations", &arguments, &last.value.uuid.to_string()).into();
    }
    Ok(Json(answer))
}

fn columns(query: &mut Query, context: &Context) -> Result<Vec<&'static str>, ApiError> {
    match query.list("fields") {
        Some(names) => fields::requested(ALLOCATION, &names, context.version),
        None => Ok(fields::known(ALLOCATION, context.version)),
    }
}

// === one allocation ===

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = columns(&mut query, &context)?;
    query.finish()?;
    let row = state.store.resource::<Allocation>(&ident).await?;
    Ok(Json(view(&context, &row, &columns)))
}

async fn create(
    Extract(state): Extract<State>,
    context: Context,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut body = body.object()?;
    let node = match text(body.remove("node").unwrap_or_default(), 255).map_err(ApiError::bad)? {
        Some(_) if !context.version.has(58) => {
            return Err(ApiError::bad("Cannot set node when creating an allocation in this API version"));
        }
        Some(ident) => Some(node_named(&state, &context, &ident).await?),
        None => None,
    };
    let allocation = requested(&state, &context, body, node.as_ref()).await?;
    let engine = state.engine.clone();
    let backfill = node.map(|node| node.uuid);
    let row = to_the_end(async move { engine.allocate(allocation, backfill).await.map_err(taken) }).await?;
    let location = context.url(&format!("allocations/{}", row.value.uuid));
    let answer = view(&context, &row, &fields::known(ALLOCATION, context.version));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// The allocation that a body asks for.
async fn requested(
    state: &State,
    context: &Context,
    body: Map<String, Value>,
    node: Option<&Node>,
) -> Result<Allocation, ApiError> {
    let mut allocation = Allocation {
        // Without a UUID of its own, a backfilled allocation is the one the node already names.
        uuid: node
            .and_then(|node| node.instance_uuid.as_ref())
            .and_then(|instance| instance.parse().ok())
            .unwrap_or_else(Uuid::new_v4),
        name: None,
        state: AllocationState::Allocating,
        resource_class: None,
        traits: Vec::new(),
        candidate_nodes: Vec::new(),
        owner: None,
        extra: Dictionary::new(),
        last_error: None,
        node: None,
    };
    for (field, value) in body {
        if fields::settable(ALLOCATION, &field, Access::Create, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Schema error for allocation: Additional properties are not allowed ('{}' was unexpected)",
                shortened(&field)
            )));
        }
        match field.as_str() {
            "candidate_nodes" => {
                for ident in texts(&field, value).map_err(|wrong| wrong.in_new("allocation"))? {
                    allocation.candidate_nodes.push(node_named(state, context, &ident).await?.uuid);
                }
            }
            _ => set(&mut allocation, &field, value).map_err(|wrong| wrong.in_new("allocation"))?,
        }
    }
    allocation.owner = context.viewer.owner_of_new(allocation.owner.take());
    if allocation.resource_class.is_none() {
        match node {
            Some(node) => allocation.resource_class.clone_from(&node.resource_class),
            None => {
                return Err(ApiError::bad("The resource_class field is mandatory when not backfilling"));
            }
        }
    }
    Ok(allocation)
}

async fn change(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    if !context.version.has(57) {
        return Err(ApiError::method_not_allowed());
    }
    let operations =
        Operation::parse_all(body, context.version).map_err(|error| ApiError::bad(error.to_string()))?;
    for operation in &operations {
        if fields::settable(ALLOCATION, operation.field(), Access::Patch, context.version)?.is_none() {
            return Err(ApiError::bad(format!(
                "Cannot patch {}. Only the following can be updated: name, extra",
                operation.path()
            )));
        }
    }
    let uuid = state.store.resource::<Allocation>(&ident).await?.value.uuid;
    let engine = state.engine.clone();
    let row = to_the_end(async move {
        let edit = move |allocation: &mut Allocation| patch(allocation, &operations);
        engine.edit_allocation(uuid, edit).await.map_err(taken)
    })
    .await?;
    Ok(Json(view(&context, &row, &fields::known(ALLOCATION, context.version))))
}

fn patch(allocation: &mut Allocation, operations: &[Operation]) -> Result<(), RequestError> {
    let mut after = Map::new();
    after.insert("name".to_owned(), allocation.name.clone().into());
    after.insert("extra".to_owned(), allocation.extra.clone().into());
    for operation in operations {
        operation.apply(&mut after).map_err(|error| RequestError::Invalid(error.to_string()))?;
    }
    for (field, value) in after {
        set(allocation, &field, value).map_err(|wrong| RequestError::Invalid(wrong.into()))?;
    }
    Ok(())
}

async fn delete(Extract(state): Extract<State>, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let uuid = state.store.resource::<Allocation>(&ident).await?.value.uuid;
    release(&state, uuid).await
}

async fn release(state: &State, uuid: Uuid) -> Result<StatusCode, ApiError> {
    let engine = state.engine.clone();
    to_the_end(async move { Ok(engine.release(uuid).await?) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

// === of a node ===

async fn show_of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = columns(&mut query, &context)?;
    query.finish()?;
    let row = of_node(&state, &context, &ident).await?;
    Ok(Json(view(&context, &row, &columns)))
}

async fn delete_of_node(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = of_node(&state, &context, &ident).await?;
    release(&state, row.value.uuid).await
}

async fn of_node(state: &State, context: &Context, ident: &str) -> Result<Stored<Allocation>, ApiError> {
    let node = find(state, context, ident).await?;
    let rows = state.store.resources::<Allocation>(Some(node.uuid)).await?;
    rows.into_iter()
        .next()
        .ok_or_else(|| ApiError::not_found(format!("Allocation for node {} was not found", shortened(ident))))
}

// === shared ===

/// A node that a body or a query names: when it is not there the request is wrong, not the path.
async fn node_named(state: &State, context: &Context, ident: &str) -> Result<Node, ApiError> {
    find(state, context, ident).await.map_err(|error| match error.status() {
        StatusCode::NOT_FOUND => error.with_status(StatusCode::BAD_REQUEST),
        _ => error,
    })
}

fn taken(error: RequestError) -> ApiError {
    match error {
        RequestError::Store(StoreError::Duplicate { field: "name", value, .. }) => {
            ApiError::conflict(format!("An allocation with name {value} already exists."))
        }
        RequestError::Store(StoreError::Duplicate { value, .. }) => {
            ApiError::conflict(format!("An allocation with UUID {value} already exists."))
        }
        error => error.into(),
    }
}

/// Sets one field; `null` is its default.
fn set(allocation: &mut Allocation, field: &str, value: Value) -> Result<(), Wrong> {
    match field {
        "uuid" => {
            if let Some(given) = uuid(field, value)? {
                allocation.uuid = given;
            }
        }
        "name" => allocation.name = logical_name(value)?,
        "resource_class" => {
            allocation.resource_class = text(value, 80)?.filter(|class| !class.is_empty());
        }
        "owner" => allocation.owner = text(value, 255)?,
        "extra" => allocation.extra = dictionary(value)?,
        "traits" => {
            let names = texts(field, value)?.into_iter().map(Value::from);
            allocation.traits = names.map(|name| trait_name(&name)).collect::<Result<_, _>>()?;
        }
        _ => return Err(format!("{field} cannot be set.").into()),
    }
    Ok(())
}

/// A list of texts; nothing is an empty one.
fn texts(field: &str, value: Value) -> Result<Vec<String>, Wrong> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) if items.len() <= MAX_ITEMS => items,
        Value::Array(_) => return Err(format!("{field} names more than {MAX_ITEMS}").into()),
        other => return Err(wrong_type(&other, "'array', 'null'")),
    };
    let one = |item| text(item, 255)?.ok_or_else(|| wrong_type(&Value::Null, "'string'"));
    items.into_iter().map(one).collect()
}

/// An allocation's own fields under their API names.
fn document(row: &Stored<Allocation>) -> Map<String, Value> {
    let mut document = match serde_json::to_value(&row.value) {
        Ok(Value::Object(document)) => document,
        // A struct of JSON values always is an object.
        _ => Map::new(),
    };
    let node = document.remove("node").unwrap_or_default();
    document.insert("node_uuid".to_owned(), node);
    document.insert("created_at".to_owned(), timestamp(row.created_at).into());
    document.insert("updated_at".to_owned(), row.updated_at.map(timestamp).into());
    document
}

fn view(context: &Context, row: &Stored<Allocation>, columns: &[&str]) -> Value {
    let mut all = document(row);
    all.insert("links".to_owned(), context.links(&format!("allocations/{}", row.value.uuid)));
    pick(all, columns)
}
