//! List, show, create, patch and delete of a small resource.

use axum::{
    Json, Router,
    extract::{Path, Request, State as Extract},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use bessemer_proto::ids::NodeId;
use http::{Method, StatusCode, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::{
    State,
    access::Viewer,
    error::ApiError,
    fields::{self, Access, Field},
    json::JsonBody,
    layers::to_the_end,
    links::Context,
    mask,
    node_view::{pick, timestamp},
    patch::Operation,
    query::{DETAIL_SINCE, Query},
    value::{Wrong, shortened, uuid},
    version::Version,
};
use crate::{
    reconcile::NodeGuard,
    store::{Resource, Store, StoreError, Stored},
};

/// How often a patch is tried again when somebody else changed the resource meanwhile.
const ATTEMPTS: usize = 3;

/// Which resources a listing shows.
pub(super) type Filter<R> = Box<dyn Fn(&Stored<R>) -> bool + Send>;

/// What the frame needs to know of a resource. Its fields are those of its JSON document.
pub(super) trait Served: Resource {
    /// Path below `/v1/`.
    const PATH: &'static str;
    /// Name of the list in answers.
    const LIST: &'static str;
    /// How messages about a wrong body call it.
    const BODY: &'static str;
    /// The minor version it came with.
    const SINCE: u16;
    /// The minor version since when `detail` may be asked for.
    const DETAIL_SINCE: u16 = DETAIL_SINCE;
    /// Whether older clients that write get 405, as Ironic has it for some; else 404.
    const OLD_WRITES_405: bool = false;
    /// Whether it is found by its name.
    const NAMED: bool = false;
    /// Its fields.
    const FIELDS: &'static [Field];
    /// Fields of a listing that asks for none.
    const DEFAULT: &'static [&'static str];
    /// Fields no listing is sorted by.
    const UNSORTABLE: &'static [&'static str];
    /// Fields that are shown only when they are set: Ironic takes them and does not show them.
    const QUIET: &'static [&'static str] = &[];
    /// Fields that a new one must have.
    const REQUIRED: &'static [&'static str];

    /// One with a random UUID and nothing else.
    fn blank() -> Self;

    /// Sets one field; `null` is its default.
    fn set(&mut self, field: &str, value: Value, version: Version) -> Result<(), Wrong>;

    /// Adds what is no field of the document, and hides what is secret.
    fn finish(_context: &Context, _document: &mut Map<String, Value>) {}

    /// Whether who asks may know of it. What lies on a node is left out where the node is hidden.
    fn is_shown(&self, _viewer: &Viewer) -> bool {
        true
    }

    /// Gives a new one to the project of who makes it, where it has an owner.
    fn belong_to(&mut self, _viewer: &Viewer) {}

    /// Rules among its own fields, given what is stored.
    fn settle(&mut self, _before: Option<&Self>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Rules about what may be stored, given what is.
    fn check(
        _state: &State,
        _before: Option<&Self>,
        _after: &Self,
    ) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Ok(()) }
    }

    /// Rules about what may be removed.
    fn check_removal(_state: &State, _value: &Self) -> impl Future<Output = Result<(), ApiError>> + Send {
        async { Ok(()) }
    }

    /// Reads the filters of a listing.
    fn filter(
        _state: &State,
        _context: &Context,
        _query: &mut Query,
    ) -> impl Future<Output = Result<Filter<Self>, ApiError>> + Send {
        async { Ok(Box::new(|_: &Stored<Self>| true) as Filter<Self>) }
    }

    /// The sentence about a value that another one has.
    fn taken(field: &str, value: &str) -> String {
        let field = if field == "uuid" { "UUID" } else { field };
        format!("A {} with {field} {value} already exists.", Self::WHAT.to_lowercase())
    }
}

/// The paths of a resource.
pub(super) fn routes<R: Served>() -> Router<State> {
    let path = format!("/v1/{}", R::PATH);
    Router::new()
        .route(&path, gate::<R>(get(list::<R>).post(create::<R>)))
        .route(&format!("{path}/{{ident}}"), gate::<R>(get(show::<R>).patch(change::<R>).delete(delete::<R>)))
}

/// The path with all fields, which some resources have.
pub(super) fn detail_route<R: Served>() -> Router<State> {
    Router::new().route(&format!("/v1/{}/detail", R::PATH), gate::<R>(get(list_detail::<R>)))
}

/// Routes that older clients do not know.
fn gate<R: Served>(routes: MethodRouter<State>) -> MethodRouter<State> {
    routes.layer(middleware::from_fn(|request: Request, next: Next| async move {
        match request.extensions().get::<Version>() {
            Some(version) if version.has(R::SINCE) => next.run(request).await,
            _ if R::OLD_WRITES_405 && request.method() != Method::GET => {
                ApiError::method_not_allowed().into_response()
            }
            _ => ApiError::no_such_path().into_response(),
        }
    }))
}

/// The resource of that UUID or name.
pub(super) async fn find<R: Served>(store: &Store, ident: &str) -> Result<Stored<R>, ApiError> {
    if !R::NAMED && ident.parse::<Uuid>().is_err() {
        return Err(ApiError::bad(format!("Expected UUID for {}_uuid: {}", R::BODY, shortened(ident))));
    }
    Ok(store.resource(ident).await?)
}

// === list ===

/// Where a listing was asked for.
pub(super) struct Scope {
    /// Path below `/v1/`, for the next page.
    pub(super) path: String,
    /// Only those of this node.
    pub(super) node: Option<NodeId>,
    /// All fields when none are asked for.
    pub(super) detail: bool,
}

async fn list<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: R::PATH.to_owned(), node: None, detail: false };
    listing::<R>(&state, &context, query, scope).await
}

async fn list_detail<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let scope = Scope { path: format!("{}/detail", R::PATH), node: None, detail: true };
    listing::<R>(&state, &context, query, scope).await
}

/// One page of resources.
pub(super) async fn listing<R: Served>(
    state: &State,
    context: &Context,
    mut query: Query,
    scope: Scope,
) -> Result<Json<Value>, ApiError> {
    query.detail_came_with(R::DETAIL_SINCE);
    let columns = query.columns(R::FIELDS, R::DEFAULT, context.version, scope.detail)?;
    let sortable: Vec<_> = fields::known(R::FIELDS, context.version)
        .into_iter()
        .filter(|name| *name != "links" && !R::UNSORTABLE.contains(name))
        .collect();
    let page = query.page(state.config.max_limit, &sortable)?;
    let keep = R::filter(state, context, &mut query).await?;
    let mut arguments = query.finish()?;
    if columns.are_default {
        arguments.push(("fields", columns.names.join(",")));
    }
    let mut rows = state.store.resources::<R>(scope.node).await?;
    if let Some(nodes) = context.viewer.nodes(state).await? {
        rows.retain(|row| row.value.node().is_none_or(|node| nodes.contains(&node)));
    }
    rows.retain(|row| row.value.is_shown(&context.viewer));
    let key = |row: &Stored<R>, name: &str| document(row).remove(name).unwrap_or_default();
    let (rows, full) = page
        .cut(rows, |row| row.value.uuid().to_string(), key, keep)
        .map_err(|marker| ApiError::not_found(format!("{} {marker} could not be found.", R::WHAT)))?;
    let shown: Vec<_> = rows.iter().map(|row| view(context, row, &columns.names)).collect();
    let mut answer = Map::new();
    answer.insert(R::LIST.to_owned(), shown.into());
    if let Some(last) = rows.last().filter(|_| full) {
        let last = last.value.uuid().to_string();
        answer.insert("next".to_owned(), page.next(context, &scope.path, &arguments, &last).into());
    }
    Ok(Json(answer.into()))
}

// === one ===

async fn show<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let names = query.list("fields");
    query.finish()?;
    let columns = match names {
        Some(names) => fields::requested(R::FIELDS, &names, context.version)?,
        None => fields::known(R::FIELDS, context.version),
    };
    let stored = find::<R>(&state.store, &ident).await?;
    Ok(Json(view(&context, &stored, &columns)))
}

async fn create<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    query: Query,
    body: JsonBody,
) -> Result<Response, ApiError> {
    query.finish()?;
    let schema = |problem: String| ApiError::bad(format!("Schema error for {}: {problem}", R::BODY));
    let new = |wrong: Wrong| wrong.in_new(R::BODY);
    let mut body = body.object()?;
    if let Some(name) = R::REQUIRED.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
        return Err(schema(format!("'{name}' is a required property")));
    }
    let mut value = R::blank();
    if let Some(given) = body.remove("uuid")
        && let Some(given) = uuid("uuid", given).map_err(new)?
    {
        value.set("uuid", given.to_string().into(), context.version).map_err(new)?;
    }
    for (field, given) in body {
        if fields::settable(R::FIELDS, &field, Access::Create, context.version)?.is_none() {
            let name = shortened(&field);
            return Err(schema(format!("Additional properties are not allowed ('{name}' was unexpected)")));
        }
        let given = resolve_node(&state, &field, given).await?;
        value.set(&field, given, context.version).map_err(new)?;
    }
    value.belong_to(&context.viewer);
    value.settle(None)?;
    R::check(&state, None, &value).await?;
    let stored = state.store.create_resource(&value).await.map_err(refused::<R>)?;
    let location = context.url(&format!("{}/{}", R::PATH, stored.value.uuid()));
    let answer = view(&context, &stored, &fields::known(R::FIELDS, context.version));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

async fn change<R: Served>(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let operations =
        Operation::parse_all(body, context.version).map_err(|error| ApiError::bad(error.to_string()))?;
    let patchable: Vec<_> = R::FIELDS
        .iter()
        .filter(|field| field.access == Access::Patch && context.version.has(field.since))
        .collect();
    for operation in &operations {
        if !patchable.iter().any(|field| field.name == operation.field()) {
            let names: Vec<_> = patchable.iter().map(|field| field.name).collect();
            return Err(ApiError::bad(format!(
                "Cannot patch {}. Only the following can be updated: {}",
                shortened(operation.path()),
                names.join(", ")
            )));
        }
    }
    let stored = find::<R>(&state.store, &ident).await?;
    let uuid = stored.value.uuid();
    let asked = context.clone();
    let stored = to_the_end(async move {
        let _guard = hold(&state, &stored.value).await?;
        update::<R>(&state, &uuid.to_string(), &operations, &asked).await
    })
    .await?;
    Ok(Json(view(&context, &stored, &fields::known(R::FIELDS, context.version))))
}

async fn update<R: Served>(
    state: &State,
    ident: &str,
    operations: &[Operation],
    context: &Context,
) -> Result<Stored<R>, ApiError> {
    for attempt in 1.. {
        let mut stored = state.store.resource::<R>(ident).await?;
        let before = stored.value.clone();
        let old = document(&stored);
        let mut new = old.clone();
        for operation in operations {
            operation.apply(&mut new).map_err(|error| ApiError::bad(error.to_string()))?;
        }
        if new == old {
            return Ok(stored);
        }
        set_changed(state, context, &mut stored.value, &old, new).await?;
        stored.value.settle(Some(&before))?;
        R::check(state, Some(&before), &stored.value).await?;
        match state.store.update_resource(&mut stored).await {
            Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {}
            result => return result.map(|()| stored).map_err(refused::<R>),
        }
    }
    Err(being_changed::<R>(ident))
}

async fn set_changed<R: Served>(
    state: &State,
    context: &Context,
    target: &mut R,
    old: &Map<String, Value>,
    new: Map<String, Value>,
) -> Result<(), ApiError> {
    let schema = |problem: String| ApiError::bad(format!("Schema error for patch: {problem}"));
    let whom = format!("{} {}", R::WHAT, target.uuid());
    let mut shown = old.clone();
    R::finish(context, &mut shown);
    for (field, mut value) in new {
        if let (Some(old), Some(shown)) = (old.get(&field), shown.get(&field)) {
            mask::restore_value(&mut value, old, shown);
        }
        if old.get(&field) == Some(&value) {
            continue;
        }
        if value.is_null() && R::REQUIRED.contains(&field.as_str()) {
            return Err(schema(format!("'{field}' is a required property")));
        }
        let value = resolve_node(state, &field, value).await?;
        target.set(&field, value, context.version).map_err(|wrong| wrong.in_patch(&whom))?;
    }
    Ok(())
}

/// Changes a resource; tried again when somebody else was faster.
pub(super) async fn edit<R: Served>(
    state: &State,
    ident: &str,
    change: impl Fn(&mut R) -> Result<(), ApiError>,
) -> Result<Stored<R>, ApiError> {
    for attempt in 1.. {
        let mut stored = find::<R>(&state.store, ident).await?;
        change(&mut stored.value)?;
        match state.store.update_resource(&mut stored).await {
            Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {}
            result => return result.map(|()| stored).map_err(refused::<R>),
        }
    }
    Err(being_changed::<R>(ident))
}

fn being_changed<R: Served>(ident: &str) -> ApiError {
    ApiError::conflict(format!("{} {} is being changed by others.", R::WHAT, shortened(ident)))
}

async fn delete<R: Served>(
    Extract(state): Extract<State>,
    Path(ident): Path<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let stored = find::<R>(&state.store, &ident).await?;
    to_the_end(async move {
        let _guard = hold(&state, &stored.value).await?;
        R::check_removal(&state, &stored.value).await?;
        Ok(state.store.delete_resource::<R>(stored.value.uuid()).await?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

// === shared ===

/// What belongs to a node changes only while nobody works on the node.
async fn hold<R: Served>(state: &State, value: &R) -> Result<Option<NodeGuard>, ApiError> {
    match value.node() {
        Some(node) => Ok(Some(state.engine.hold(node).await?)),
        None => Ok(None),
    }
}

/// A node that something belongs to must be there.
async fn resolve_node(state: &State, field: &str, value: Value) -> Result<Value, ApiError> {
    if field != "node_uuid" {
        return Ok(value);
    }
    let Value::String(ident) = &value else {
        return Err(ApiError::bad("node_uuid must be a string."));
    };
    if ident.parse::<Uuid>().is_err() {
        return Err(ApiError::bad(format!("Expected UUID for node_uuid: {}", shortened(ident))));
    }
    let node = state.store.node(ident).await.map_err(|error| match error {
        // The path is right, what it says is not.
        StoreError::NotFound { .. } => ApiError::from(error).with_status(StatusCode::BAD_REQUEST),
        error => error.into(),
    })?;
    Ok(node.uuid.to_string().into())
}

fn refused<R: Served>(error: StoreError) -> ApiError {
    match error {
        StoreError::Duplicate { field, value, .. } => ApiError::conflict(R::taken(field, &value)),
        error => error.into(),
    }
}

/// A resource's own fields under their API names: what patches apply to.
pub(super) fn document<R: Served>(stored: &Stored<R>) -> Map<String, Value> {
    let mut document = match serde_json::to_value(&stored.value) {
        Ok(Value::Object(document)) => document,
        // A struct of JSON values always is an object.
        _ => Map::new(),
    };
    document.insert("created_at".into(), timestamp(stored.created_at).into());
    document.insert("updated_at".into(), stored.updated_at.map(timestamp).into());
    document
}

fn view<R: Served>(context: &Context, stored: &Stored<R>, columns: &[&str]) -> Value {
    let mut all = document(stored);
    all.insert("links".into(), context.links(&format!("{}/{}", R::PATH, stored.value.uuid())));
    R::finish(context, &mut all);
    let quiet = |name: &str| R::QUIET.contains(&name) && all.get(name).is_none_or(Value::is_null);
    let columns: Vec<_> = columns.iter().copied().filter(|name| !quiet(name)).collect();
    pick(all, &columns)
}

/// The pair of links to a part of a resource.
pub(super) fn part_links(context: &Context, document: &Map<String, Value>, path: &str, part: &str) -> Value {
    let uuid = document.get("uuid").and_then(Value::as_str).unwrap_or_default();
    context.links(&format!("{path}/{uuid}/{part}"))
}
