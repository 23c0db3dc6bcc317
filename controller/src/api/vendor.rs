//! `vendor_passthru` of nodes and drivers: methods that only some interfaces have.

use axum::{
    Json, Router,
    extract::{FromRequest as _, Path, Request, State as Extract},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    State, drivers as driver_api, error::ApiError, json::JsonBody, layers::to_the_end, links::Context,
    nodes::find, query::Query, value::shortened,
};
use crate::{
    drivers::vendor::{self, Done},
    node::raid,
};

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/vendor_passthru", any(node_call_by_argument))
        .route("/v1/nodes/{node}/vendor_passthru/methods", get(node_methods))
        .route("/v1/nodes/{node}/vendor_passthru/{method}", any(node_call))
        .route("/v1/drivers/{driver}/vendor_passthru", any(driver_call_by_argument))
        .route("/v1/drivers/{driver}/vendor_passthru/methods", get(driver_methods))
        .route("/v1/drivers/{driver}/vendor_passthru/{method}", any(driver_call))
        .route("/v1/drivers/{driver}/raid/logical_disk_properties", get(logical_disk_properties))
}

// === nodes ===

async fn node_methods(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let interface = node.interfaces.get("vendor").map(String::as_str).unwrap_or_default();
    let methods = vendor::methods(&node.driver, interface).iter().map(|method| {
        let view = json!({
            "http_methods": [method.http],
            "async": method.in_background,
            "description": method.description,
            "attach": false,
            "require_exclusive_lock": method.locks,
        });
        (method.name.to_owned(), view)
    });
    Ok(Json(methods.collect::<Map<_, _>>().into()))
}

async fn node_call_by_argument(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    let method = query.text("method").unwrap_or_default();
    call(&state, &context, (&ident, &method), query, request).await
}

async fn node_call(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, method)): Path<(String, String)>,
    query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    call(&state, &context, (&ident, &method), query, request).await
}

async fn call(
    state: &State,
    context: &Context,
    (ident, method): (&str, &str),
    mut query: Query,
    request: Request,
) -> Result<Response, ApiError> {
    if method.is_empty() {
        return Err(ApiError::bad("Method not specified"));
    }
    let http_method = request.method().clone();
    let mut arguments = JsonBody::from_request(request, state).await?.object()?;
    // What has no body has its argument in the query.
    if let Some(id) = query.text("id") {
        arguments.entry("id").or_insert(id.into());
    }
    let node = find(state, context, ident).await?;
    let interface = node.interfaces.get("vendor").map(String::as_str).unwrap_or_default();
    let known = vendor::methods(&node.driver, interface).iter().find(|known| known.name == method);
    let method = known.ok_or_else(|| no_handler(method))?;
    if http_method.as_str() != method.http {
        let sentence = format!("The method {} does not support HTTP {http_method}", method.name);
        return Err(ApiError::bad(sentence));
    }
    let call = vendor::parse(method, &arguments).map_err(ApiError::bad)?;
    let engine = state.engine.clone();
    let done = to_the_end(async move { Ok(engine.vendor(node.uuid, call).await?) }).await?;
    Ok(match done {
        Done::Answer(answer) => Json(answer).into_response(),
        Done::Accepted => StatusCode::ACCEPTED.into_response(),
    })
}

fn no_handler(method: &str) -> ApiError {
    ApiError::bad(format!("No handler for method {}", shortened(method)))
}

// === drivers ===

/// No driver has methods of its own.
async fn driver_methods(Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    driver_api::find(&name)?;
    Ok(Json(json!({})))
}

async fn driver_call_by_argument(Path(name): Path<String>, mut query: Query) -> Result<Response, ApiError> {
    let method = query.text("method").unwrap_or_default();
    driver_call(Path((name, method))).await
}

async fn driver_call(Path((name, method)): Path<(String, String)>) -> Result<Response, ApiError> {
    driver_api::find(&name)?;
    if method.is_empty() {
        return Err(ApiError::bad("Method not specified"));
    }
    Err(no_handler(&method))
}

async fn logical_disk_properties(
    context: Context,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if !context.version.has(12) {
        return Err(ApiError::too_old("RAID configuration"));
    }
    let driver = driver_api::find(&name)?;
    if driver.interface("raid").is_none_or(|raid| crate::drivers::is_absent(raid.default)) {
        let sentence = format!("Driver {} does not support raid (disabled or not implemented).", driver.name);
        return Err(ApiError::not_found(sentence));
    }
    Ok(Json(raid::LOGICAL_DISK.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect()))
}
