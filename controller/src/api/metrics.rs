//! `/metrics`: what Prometheus scrapes. Not part of Ironic's API.

use axum::http::StatusCode;
use axum::{Router, extract::State as Extract, http::header, response::IntoResponse, routing::get};

use super::{State, error::ApiError, query::Query};
use crate::sensors;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(Extract(state): Extract<State>, query: Query) -> Result<impl IntoResponse, ApiError> {
    query.finish()?;
    let text = state.engine.metrics().map_err(|error| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The metrics cannot be written down: {error}"),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, sensors::CONTENT_TYPE)], text))
}
