//! The HTTP side: `GET` and `HEAD` of `/config-drives/<node>?key=<key>`.

use std::collections::HashMap;

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bessemer_proto::{ids::NodeId, secret::Secret};
use http::{StatusCode, header};

use super::ConfigDrives;

pub(super) const FOLDER: &str = "config-drives";
pub(super) const KEY: &str = "key";

/// Serves staged config drives below `/config-drives/`.
pub fn router(drives: ConfigDrives) -> Router {
    Router::new().route(&format!("/{FOLDER}/{{node}}"), get(serve)).with_state(drives)
}

async fn serve(
    State(drives): State<ConfigDrives>,
    Path(node): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Response {
    let key = Secret::new(query.remove(KEY).unwrap_or_default());
    let found = node.parse::<NodeId>().ok().and_then(|node| Some((node, drives.find(node, &key)?)));
    let Some((node, image)) = found else {
        tracing::debug!("request for a config drive that is not there");
        return StatusCode::NOT_FOUND.into_response();
    };
    tracing::info!(%node, bytes = image.len(), "the agent fetches the config drive");
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
    // For HEAD the server sends no body.
    (headers, Body::from(image)).into_response()
}
