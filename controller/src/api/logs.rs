//! `/v1/nodes/X/logs`: the log of a node's agents. Not part of Ironic's API.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::v1::LogLevel;
use chrono::DateTime;
use serde_json::{Value, json};

use super::{State, error::ApiError, links::Context, node_view::timestamp, nodes::find, query::Query};
use crate::store::LogLine;

/// Most lines in one answer.
const MAX_LINES: u32 = 1000;

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/nodes/{node}/logs", get(list))
}

/// Lines with an id above `after`, oldest first.
async fn list(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let after = query.number::<i64>("after")?.unwrap_or(0);
    let limit = query.number::<u32>("limit")?.unwrap_or(MAX_LINES).clamp(1, MAX_LINES);
    query.finish()?;
    let node = find(&state, &context, &ident).await?;
    let lines = state.store.log(node.uuid, after, limit).await?;
    Ok(Json(json!({"logs": lines.iter().map(view).collect::<Vec<_>>()})))
}

fn view(line: &LogLine) -> Value {
    let level = match line.record.level() {
        LogLevel::Error => "error",
        LogLevel::Warn => "warning",
        LogLevel::Info | LogLevel::Unspecified => "info",
        LogLevel::Debug => "debug",
    };
    json!({
        "id": line.id,
        "time": DateTime::from_timestamp_millis(line.record.time_ms).map(timestamp),
        "level": level,
        "target": line.record.target,
        "message": line.record.message,
        "boot": line.boot,
    })
}
