//! The description of the API says what the router does: no more, no less.

use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Controller;
use crate::api::access::ROUTES;

const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

/// A path with something in the place of its parameters.
fn filled(path: &str) -> String {
    let segments =
        path.split('/').map(|segment| if segment.starts_with('{') { "no-such-thing" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// Whether the router has a handler there: what it does not know it answers in other words than any handler.
async fn is_routed(controller: &Controller, method: &str, path: &str) -> bool {
    let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let answer = controller.send(method, &filled(path), json!({})).await;
    assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {answer:?}");
    let inner = answer.body["error_message"].as_str().map(serde_json::from_str::<Value>);
    inner.is_none_or(|inner| inner.unwrap().get("code").is_none())
}

#[tokio::test]
async fn every_described_route_is_served_and_every_served_one_described() {
    let controller = Controller::start().await;
    let mut wrong = Vec::new();
    for path in ROUTES.iter().map(|route| route.path).collect::<BTreeSet<_>>() {
        for method in METHODS {
            let described =
                ROUTES.iter().any(|route| route.path == path && route.method.eq_ignore_ascii_case(method));
            if described != is_routed(&controller, method, path).await {
                wrong.push(format!("{method} {path}: described {described}"));
            }
        }
    }
    assert!(wrong.is_empty(), "correct api/access/routes.rs: {wrong:#?}");
}

#[tokio::test]
async fn the_description_is_whole() {
    let controller = Controller::start().await;
    let document = controller.get("/v1/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["parameters"].as_array().unwrap();
        assert_eq!(parameters.len(), path.matches('{').count(), "{path}");
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            assert!(METHODS.contains(&method.as_str()));
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            assert!(operation["responses"]["default"].is_object());
            assert_eq!(operation["responses"].as_object().unwrap().len(), 2);
            let public = operation["security"] == json!([]);
            assert_ne!(public, operation["x-policy"].is_string(), "{path}");
        }
    }
    let node =
        &document["paths"]["/v1/nodes/{node}"]["get"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(node["schema"]["properties"].as_object().unwrap().len(), 69);
    let body =
        &document["paths"]["/v1/nodes"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert!(body["properties"]["driver"].is_object() && body["properties"]["power_state"].is_null());
    for reference in references(&document) {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) if name == "$ref" => vec![text.clone()],
                value => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
