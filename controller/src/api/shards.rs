//! `/v1/shards`: how many nodes each shard has.

use std::collections::BTreeMap;

use axum::{Json, Router, extract::State as Extract, routing::get};
use serde_json::{Value, json};

use super::{State, error::ApiError, layers::since, query::Query};
use crate::store::NodeFilter;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/shards", since(82, get(list)))
}

async fn list(Extract(state): Extract<State>, query: Query) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let mut counts = BTreeMap::<String, u64>::new();
    for node in state.store.nodes(&NodeFilter::default()).await? {
        // Ironic's word for nodes without a shard.
        *counts.entry(node.shard.unwrap_or_else(|| "None".to_owned())).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // As in Ironic the largest first.
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shards: Vec<_> = counts.iter().map(|(name, count)| json!({"name": name, "count": count})).collect();
    Ok(Json(json!({"shards": shards})))
}
