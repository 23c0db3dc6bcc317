//! `/v1/bmc/quirks`: the rules about BMCs that differ from their standard. Not part of Ironic's API.

use axum::{Json, Router, extract::State as Extract, http::StatusCode, routing::get};
use serde_json::{Value, json};

use super::{State, error::ApiError, node_view::timestamp, query::Query};
use crate::bmc::quirks;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/bmc/quirks", get(list).put(reload))
}

async fn list(Extract(state): Extract<State>, query: Query) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    let news = state.quirks.news();
    let rules: Vec<_> = quirks::current()
        .rules()
        .map(|(rule, source)| {
            json!({
                "name": rule.name, "about": rule.about, "match": rule.condition(), "set": rule.set,
                "source": source.to_string(),
            })
        })
        .collect();
    Ok(Json(json!({
        "quirks": rules,
        "folder": state.quirks.path(),
        "read_at": news.read_at.map(timestamp),
        "problem": news.problem,
    })))
}

/// Reads the operator's folder again.
async fn reload(Extract(state): Extract<State>, query: Query) -> Result<Json<Value>, ApiError> {
    query.finish()?;
    match state.quirks.read().await {
        Ok(_) => list(Extract(state), Query::default()).await,
        Err(_) => {
            let problem = state.quirks.news().problem.unwrap_or_default();
            Err(ApiError::new(StatusCode::CONFLICT, format!("{problem}. What was in force stays.")))
        }
    }
}
