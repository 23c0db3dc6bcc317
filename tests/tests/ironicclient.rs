//! The `baremetal` command line is run for real, against the least of an API.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use axum::{Json, Router, http::HeaderMap, routing::get};
use bessemer_tests::counterparts::ironicclient::IronicClient;
use serde_json::{Value, json};

/// Answers as Ironic does, with the version that was asked for.
async fn nodes(headers: HeaderMap) -> (HeaderMap, Json<Value>) {
    let mut answer = HeaderMap::new();
    let asked = headers.get("x-openstack-ironic-api-version").cloned();
    answer.insert("x-openstack-ironic-api-version", asked.unwrap_or("1.1".parse().unwrap()));
    answer.insert("x-openstack-ironic-api-minimum-version", "1.1".parse().unwrap());
    answer.insert("x-openstack-ironic-api-maximum-version", "1.115".parse().unwrap());
    let node = json!({ "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "name": "rack-1", "power_state": "power off" });
    (answer, Json(json!({ "nodes": [node] })))
}

#[tokio::test]
async fn lists_nodes_of_an_api() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/nodes", get(nodes));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let list = IronicClient::new(url).unwrap().json(&["node", "list"]).await.unwrap();
    assert_eq!((&list[0]["name"], &list[0]["power_state"]), (&json!("rack-1"), &json!("power off")));
}

#[tokio::test]
async fn reports_what_the_command_says() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client =
        IronicClient::new(format!("http://{nobody}")).unwrap().with_timeout(Duration::from_secs(120));
    let answer = client.run(&["node", "bogus"]).await.unwrap();
    assert!(!answer.success() && answer.stdout.contains("bogus"), "{answer}");
    let error = client.json(&["node", "bogus"]).await.unwrap_err().to_string();
    assert!(error.starts_with("baremetal node bogus -f json failed: exit code"), "{error}");
}
