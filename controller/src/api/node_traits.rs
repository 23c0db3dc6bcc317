//! `/v1/nodes/X/traits`.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{
    State,
    error::ApiError,
    json::JsonBody,
    layers::acceptable_since,
    links::Context,
    nodes::{edit, find},
    value::{trait_name, wrong_type},
};
use crate::node::{Node, traits::MAX_TRAITS};

/// What Ironic says when it is told neither one trait nor all of them, or both.
const HOW: &str = "A single node trait may be added via PUT /v1/nodes/<node identifier>/traits/<trait> with no body, \
    or all node traits may be replaced via PUT /v1/nodes/<node identifier>/traits with the list of traits specified \
    in the request body.";

pub(super) fn routes() -> Router<State> {
    let all = get(list).put(replace).delete(clear);
    Router::new()
        .route("/v1/nodes/{node}/traits", acceptable_since(37, all))
        .route("/v1/nodes/{node}/traits/{name}", acceptable_since(37, put(add).delete(remove)))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    Ok(Json(json!({"traits": node.traits})))
}

async fn replace(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, ApiError> {
    let schema = |problem: &str| ApiError::bad(format!("Schema error for body: {problem}"));
    let mut body = body.object()?;
    let given = body.remove("traits");
    if let Some(name) = body.keys().next() {
        let name = super::value::shortened(name);
        return Err(schema(&format!("Additional properties are not allowed ('{name}' was unexpected)")));
    }
    let names: Vec<String> = match given {
        None => return Err(ApiError::bad(HOW)),
        Some(Value::Array(names)) => names
            .iter()
            .map(trait_name)
            .collect::<Result<_, _>>()
            .map_err(|wrong| schema(&String::from(wrong)))?,
        Some(other) => return Err(schema(&String::from(wrong_type(&other, "'array'")))),
    };
    change(&state, &context, &ident, move |node| {
        node.traits = names;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    change(&state, &context, &ident, |node| {
        node.traits.clear();
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, name)): Path<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    if !body.is_null() {
        return Err(ApiError::bad(HOW));
    }
    let name = trait_name(&name.into()).map_err(|wrong| wrong.in_new("trait"))?;
    let location = context.url(&format!("nodes/{ident}/traits/{name}"));
    change(&state, &context, &ident, move |node| {
        node.traits.push(name);
        Ok(())
    })
    .await?;
    Ok((StatusCode::NO_CONTENT, [(header::LOCATION, location)]).into_response())
}

async fn remove(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    change(&state, &context, &ident, move |node| {
        let before = node.traits.len();
        node.traits.retain(|held| *held != name);
        if node.traits.len() == before {
            let name = super::value::shortened(&name);
            return Err(ApiError::not_found(format!("Node {} doesn't have a trait '{name}'", node.uuid)));
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the traits; they are kept in the order of the alphabet, each once.
async fn change(
    state: &State,
    context: &Context,
    ident: &str,
    change: impl FnOnce(&mut Node) -> Result<(), ApiError> + Send + 'static,
) -> Result<Node, ApiError> {
    let node = find(state, context, ident).await?;
    edit(state, context, node.uuid, move |node| {
        change(node)?;
        node.traits.sort_unstable();
        node.traits.dedup();
        match node.traits.len() {
            count if count > MAX_TRAITS => Err(ApiError::bad(format!(
                "Could not modify traits for node {} as it would exceed the maximum number of traits per node \
                 ({count} vs. {MAX_TRAITS})",
                node.uuid
            ))),
            _ => Ok(()),
        }
    })
    .await
}
