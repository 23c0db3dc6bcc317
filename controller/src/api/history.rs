//! `/v1/nodes/X/history`: which states a node went through, and why it failed.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use bessemer_proto::ids::NodeId;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::{
    State,
    error::ApiError,
    layers::since,
    links::Context,
    node_view::{pick, timestamp},
    nodes::find,
    query::Query,
};
use crate::{node::Node, store::HistoryEvent};

const COLUMNS: &[&str] = &["uuid", "created_at", "severity", "event"];
const ALL: &[&str] =
    &["uuid", "created_at", "severity", "event", "event_type", "user", "conductor", "node_uuid"];
/// Most events that are looked through.
const MAX_EVENTS: u32 = 10_000;

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/v1/nodes/{node}/history", since(78, get(list)))
        .route("/v1/nodes/{node}/history/{event}", since(78, get(show)))
}

async fn list(
    Extract(state): Extract<State>,
    context: Context,
    Path(ident): Path<String>,
    mut query: Query,
) -> Result<Json<Value>, ApiError> {
    let columns = if query.boolean("detail")?.unwrap_or(false) { ALL } else { COLUMNS };
    let page = query.page(state.config.max_limit, &["created_at"])?;
    let arguments = query.finish()?;
    let node = find(&state, &context, &ident).await?;
    let events = oldest_first(&state, &node).await?;
    let (events, full) = page
        .cut(
            events,
            |event| id(node.uuid, event).to_string(),
            |event, _| timestamp(event.time).into(),
            |_| true,
        )
        .map_err(|marker| ApiError::not_found(format!("Node history record {marker} could not be found.")))?;
    let rows: Vec<_> = events.iter().map(|event| view(&state, &context, &node, event, columns)).collect();
    let mut answer = json!({"history": rows});
    if let Some(last) = events.last().filter(|_| full) {
        let path = format!("nodes/{}/history", node.uuid);
        answer["next"] = page.next(&context, &path, &arguments, &id(node.uuid, last).to_string()).into();
    }
    Ok(Json(answer))
}

async fn show(
    Extract(state): Extract<State>,
    context: Context,
    Path((ident, event)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&state, &context, &ident).await?;
    let events = oldest_first(&state, &node).await?;
    let found = events.iter().find(|candidate| id(node.uuid, candidate).to_string() == event);
    match found {
        Some(event) => Ok(Json(view(&state, &context, &node, event, ALL))),
        None => Err(ApiError::not_found(format!("Node history record {event} could not be found."))),
    }
}

async fn oldest_first(state: &State, node: &Node) -> Result<Vec<HistoryEvent>, ApiError> {
    let mut events = state.store.history(node.uuid, MAX_EVENTS).await?;
    events.reverse();
    Ok(events)
}

/// Events have no id of their own; this one follows from what they say, so it stays the same.
fn id(node: NodeId, event: &HistoryEvent) -> Uuid {
    let text = format!("{node} {} {} {}", event.time.timestamp_micros(), event.from, event.to);
    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn view(state: &State, context: &Context, node: &Node, event: &HistoryEvent, columns: &[&str]) -> Value {
    let id = id(node.uuid, event);
    let change = format!("Provision state changed from \"{}\" to \"{}\"", event.from, event.to);
    let (severity, text) = match &event.error {
        Some(error) => ("ERROR", format!("{change}: {error}")),
        None => ("INFO", change),
    };
    let Value::Object(all) = json!({
        "uuid": id,
        "created_at": timestamp(event.time),
        "severity": severity,
        "event": text,
        "event_type": "provisioning",
        "user": null,
        "conductor": state.hostname,
        "node_uuid": node.uuid,
        "links": context.links(&format!("nodes/{}/history/{id}", node.uuid)),
    }) else {
        return Value::Null;
    };
    pick(all, columns)
}
