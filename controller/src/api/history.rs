//! `/v1/nodes/X/history`: which states a node went through, and why it failed.

use axum::{
    Json, Router,
    extract::{Path, State as Extract},
    routing::get,
};
use serde_json::{Map, Value, json};

use super::{
    State, error::ApiError, layers::since, links::Context, node_view::timestamp, nodes::find, query::Query,
};
use crate::{node::Node, store::HistoryEvent};

/// Fields of an event, since which minor version.
const ALL: &[(&str, u16)] = &[
    ("uuid", 78),
    ("created_at", 78),
    ("severity", 78),
    ("event_type", 78),
    ("event", 78),
    ("conductor", 78),
    ("user", 78),
    ("project", 113),
    ("state", 115),
    ("target_provision_state", 115),
    ("duration_seconds", 115),
];
/// Fields in a listing without detail.
const COLUMNS: &[&str] = &["uuid", "created_at", "severity", "event"];
/// A listing without detail cuts texts that are longer than this.
const MAX_TEXT: usize = 255;
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
    let detail = query.boolean("detail")?.unwrap_or(false);
    let sortable: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
    let page = query.page(state.config.max_limit, &sortable)?;
    let arguments = query.finish()?;
    let node = find(&state, &context, &ident).await?;
    let events = oldest_first(&state, &node).await?;
    let (events, full) = page
        .cut(
            events,
            |event| event.details.uuid.to_string(),
            |event, name| document(event).remove(name).unwrap_or_default(),
            |_| true,
        )
        .map_err(|marker| ApiError::not_found(format!("Node history record {marker} could not be found.")))?;
    let rows: Vec<_> = events.iter().map(|event| view(&context, &node, event, detail)).collect();
    let mut answer = json!({"history": rows});
    if let Some(last) = events.last().filter(|_| full) {
        let path = format!("nodes/{}/history", node.uuid);
        answer["next"] = page.next(&context, &path, &arguments, &last.details.uuid.to_string()).into();
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
    let found = events.iter().find(|candidate| candidate.details.uuid.to_string() == event);
    match found {
        Some(event) => Ok(Json(view(&context, &node, event, true))),
        None => Err(ApiError::not_found(format!("Node history record {event} could not be found."))),
    }
}

async fn oldest_first(state: &State, node: &Node) -> Result<Vec<HistoryEvent>, ApiError> {
    let mut events = state.store.history(node.uuid, MAX_EVENTS).await?;
    events.reverse();
    Ok(events)
}

fn document(event: &HistoryEvent) -> Map<String, Value> {
    let details = &event.details;
    let Value::Object(document) = json!({
        "uuid": details.uuid,
        "created_at": timestamp(event.time),
        "severity": if event.error.is_some() { "ERROR" } else { "INFO" },
        "event_type": details.event_type,
        "event": event.text(),
        "conductor": details.conductor,
        "user": details.user,
        "project": details.project,
        "state": event.to,
        "target_provision_state": details.target,
        "duration_seconds": details.duration_seconds,
    }) else {
        return Map::new();
    };
    document
}

fn view(context: &Context, node: &Node, event: &HistoryEvent, detail: bool) -> Value {
    let mut all = document(event);
    all.retain(|name, _| match detail {
        true => ALL.iter().any(|(known, since)| known == name && context.version.has(*since)),
        false => COLUMNS.contains(&name.as_str()),
    });
    if !detail
        && let Some(Value::String(text)) = all.get_mut("event")
        && text.chars().count() > MAX_TEXT
    {
        *text = text.chars().take(MAX_TEXT - 4).collect::<String>() + "...";
    }
    let href = context.url(&format!("nodes/{}/history/{}", node.uuid, event.details.uuid));
    all.insert("links".to_owned(), json!([{"href": href, "rel": "self"}]));
    all.into()
}
