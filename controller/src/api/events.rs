//! `/v1/events`: Neutron tells what became of the ports of nodes. Nothing here waits for it, so events are only
//! checked and logged, as in Ironic.

use axum::{Router, routing::post};
use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    State,
    error::ApiError,
    json::JsonBody,
    layers::since,
    query::Query,
    value::{mac_address, shortened},
};

const EVENTS: &[&str] = &["network.bind_port", "network.unbind_port", "network.delete_port"];
/// Fields an event must have.
const REQUIRED: &[&str] = &["event", "port_id", "mac_address", "status"];
/// Fields it may have besides.
const OPTIONAL: &[&str] = &["device_id", "binding:host_id", "binding:vnic_type"];

pub(super) fn routes() -> Router<State> {
    Router::new().route("/v1/events", since(54, post(receive)))
}

async fn receive(query: Query, body: JsonBody) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let schema = |problem: String| ApiError::bad(format!("Schema error: {problem}"));
    let mut body = body.object()?;
    let events = body.remove("events").ok_or_else(|| schema("'events' is a required property".to_owned()))?;
    if let Some(name) = body.keys().next() {
        return Err(schema(unexpected(name)));
    }
    let Value::Array(events) = events else {
        return Err(schema("'events' is not of type 'array'".to_owned()));
    };
    if events.is_empty() {
        return Err(schema("[] should be non-empty".to_owned()));
    }
    for event in &events {
        let event = event.as_object().ok_or_else(|| schema("an event must be an object".to_owned()))?;
        check(event).map_err(schema)?;
    }
    for event in &events {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        tracing::info!(
            event = text("event"),
            port = text("port_id"),
            status = text("status"),
            "external event"
        );
    }
    Ok(StatusCode::NO_CONTENT)
}

fn check(event: &Map<String, Value>) -> Result<(), String> {
    if let Some(name) = event.get("event") {
        let name = name.as_str().unwrap_or_default();
        if !EVENTS.contains(&name) {
            return Err(format!("'{}' is not one of {}", shortened(name), EVENTS.join(", ")));
        }
    }
    if let Some(name) = REQUIRED.iter().find(|name| !event.contains_key(**name)) {
        return Err(format!("'{name}' is a required property"));
    }
    for (name, value) in event {
        if !REQUIRED.contains(&name.as_str()) && !OPTIONAL.contains(&name.as_str()) {
            return Err(unexpected(name));
        }
        if value.is_null() && OPTIONAL.contains(&name.as_str()) {
            continue;
        }
        let text = value.as_str().ok_or_else(|| format!("'{name}' must be a string"))?;
        let is_id = matches!(name.as_str(), "port_id" | "device_id" | "binding:host_id");
        if is_id && text.parse::<uuid::Uuid>().is_err() {
            return Err(format!("'{}' is not a 'uuid'", shortened(text)));
        }
        if name == "mac_address" && mac_address("mac_address", value).is_err() {
            return Err(format!("'{}' is not a 'mac-address'", shortened(text)));
        }
    }
    Ok(())
}

fn unexpected(name: &str) -> String {
    format!("Additional properties are not allowed ('{}' was unexpected)", shortened(name))
}
