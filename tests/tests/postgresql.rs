//! The whole controller with a PostgreSQL instead of its own file.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use bessemer_tests::{counterparts::postgresql::PostgreSql, harness::Controller};
use reqwest::Method;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// Both are killed while nodes move; nothing is lost and every node arrives.
#[tokio::test]
async fn a_life_in_postgresql_survives_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let deploy_iso = folder.path().join("deploy.iso");
    std::fs::write(&deploy_iso, [0; 2048]).unwrap();
    let mut database = PostgreSql::start().await.unwrap();
    let extra = format!("[store]\nurl = \"{}\"\n", database.url());
    let mut controller = Controller::start(folder.path(), &deploy_iso, &extra).await.unwrap();
    let api = controller.api();
    let names: Vec<String> = (0..10).map(|number| format!("node-{number}")).collect();
    for name in &names {
        let body = json!({ "driver": "fake-hardware", "name": name });
        api.call(Method::POST, "/v1/nodes", Some(body)).await.unwrap();
    }
    let moves =
        [("manage", "manageable"), ("provide", "available"), ("active", "active"), ("deleted", "available")];
    for (round, (target, state)) in moves.into_iter().enumerate() {
        for name in &names {
            api.provision(name, json!({ "target": target })).await.unwrap();
        }
        if round % 2 == 0 {
            database.restart().await.unwrap();
        } else {
            controller.kill().await.unwrap();
            database.restart().await.unwrap();
            controller.restart().await.unwrap();
        }
        for name in &names {
            api.wait_for_state(name, state, SOON).await.unwrap();
        }
    }
    let nodes = api.get("/v1/nodes").await.unwrap();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), names.len());
}
