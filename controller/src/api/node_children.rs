//! `/v1/nodes/X/children`: nodes that are parts of another, as blades of an enclosure.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use serde_json::{Value, json};

use super::{State, error::ApiError, layers::since, links::Context, nodes::find, query::Query};
use crate::store::NodeFilter;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/nodes/{node}/children", since(83, get(list)))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let parent = find(&state, &context, &ident).await?.uuid.to_string();
    let nodes = state.store.nodes(&NodeFilter::default()).await?;
    let children: Vec<_> = nodes
        .iter()
        .filter(|node| node.parent_node.as_deref() == Some(parent.as_str()) && context.viewer.sees(node))
        .map(|node| node.uuid)
        .collect();
    Ok(Json(json!({
        "children": children,
        "links": {"href": context.url(&format!("nodes?parent_node={parent}")), "rel": "children"},
    })))
}
