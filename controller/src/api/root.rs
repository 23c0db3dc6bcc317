//! The root documents that clients find the versions and resources by.

use axum::{Json, Router, routing::get};
use serde_json::{Map, Value, json};

use super::{
    State,
    links::Context,
    version::{MAXIMUM, MINIMUM},
};

/// Resources of `/v1`, and since when.
const RESOURCES: &[(&str, u16)] = &[
    ("chassis", 1),
    ("nodes", 1),
    ("ports", 1),
    ("drivers", 1),
    ("portgroups", 23),
    ("volume", 32),
    ("conductors", 49),
    ("allocations", 52),
    ("events", 54),
    ("deploy_templates", 55),
    ("shards", 82),
    ("runbooks", 92),
    ("lookup", 22),
    ("heartbeat", 22),
    ("continue_inspection", 84),
    ("inspection_rules", 96),
];

pub(super) fn routes() -> Router<State> {
    Router::new().route("/", get(root)).route("/v1", get(v1))
}

fn version(context: &Context) -> Value {
    json!({
        "id": "v1",
        "links": [{"href": context.url(""), "rel": "self"}],
        "status": "CURRENT",
        "min_version": format!("1.{MINIMUM}"),
        "version": format!("1.{MAXIMUM}"),
    })
}

async fn root(context: Context) -> Json<Value> {
    let version = version(&context);
    Json(json!({
        "name": "OpenStack Ironic API",
        "description": "Bessemer: a bare-metal provisioning system that answers the OpenStack Ironic API.",
        "default_version": version,
        "versions": [version],
    }))
}

async fn v1(context: Context) -> Json<Map<String, Value>> {
    let mut document = Map::new();
    document.insert("id".into(), "v1".into());
    let description =
        json!({"href": context.url("openapi.json"), "rel": "describedby", "type": "application/json"});
    document.insert("links".into(), json!([{"href": context.url(""), "rel": "self"}, description]));
    document.insert(
        "media_types".into(),
        json!({"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}),
    );
    for (name, since) in RESOURCES {
        if context.version.has(*since) {
            document.insert((*name).into(), context.links(&format!("{name}/")));
        }
    }
    document.insert("version".into(), version(&context));
    Json(document)
}
