//! The notification about a machine's sensors: what Ironic sends, in our envelope (docs/notifications.md).

use serde_json::{Map, Value, json};

use super::Readings;
use crate::bmc::Sensor;

/// The type of the message; Ironic's `event_type`.
pub(crate) fn kind_of(driver: &str) -> String {
    format!("hardware.{driver}.metrics.update")
}

/// The body of the message.
pub(crate) fn body_of(id: uuid::Uuid, readings: &Readings) -> Value {
    let kind = kind_of(&readings.driver);
    let mut payload = Map::new();
    for sensor in readings.sensors.iter() {
        let group = payload.entry(sensor.kind.as_str()).or_insert_with(|| json!({}));
        group[&sensor.id] = item(sensor);
    }
    json!({
        "type": kind,
        "timestamp": readings.at,
        "data": {
            "message_id": id,
            "event_type": kind,
            "node_uuid": readings.node,
            "node_name": readings.name,
            "instance_uuid": readings.instance,
            "timestamp": readings.at,
            "payload": payload,
        },
    })
}

fn item(sensor: &Sensor) -> Value {
    let mut item: Map<_, _> = sensor.more.clone().into_iter().collect();
    item.insert("name".into(), json!(sensor.name));
    item.insert("reading".into(), json!(sensor.reading));
    item.insert("unit".into(), json!(sensor.unit));
    item.insert("state".into(), json!(sensor.state));
    item.insert("health".into(), json!(sensor.health.map(|health| health.as_str())));
    Value::Object(item)
}
