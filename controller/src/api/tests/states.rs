//! Verbs, power, maintenance, history, logs.

use std::time::Duration;

use bessemer_proto::{
    ids::BootId,
    v1::{LogLevel, LogRecord},
};

use super::*;
use crate::store::Boot;

#[tokio::test]
async fn verbs_are_accepted_or_refused_as_recorded() {
    let controller = Controller::start().await;
    let active = controller.node("active", ProvisionState::Active).await.uuid;
    let refused = |verb: &str| {
        format!(
            "The requested action \"{verb}\" can not be performed on node \"{active}\" while it is in state \"active\"."
        )
    };
    for verb in ["provide", "bogus", "manage", "abort"] {
        let path = "/v1/nodes/active/states/provision";
        let answer = controller.send(Method::PUT, path, json!({"target": verb})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{verb}");
        assert_eq!(answer.fault(), refused(verb));
    }
    for body in [json!({}), json!({"target": 5}), json!({"target": "active", "soup": 1})] {
        let answer = controller.send(Method::PUT, "/v1/nodes/active/states/provision", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    let body = json!({"target": "provide", "configdrive": "x"});
    let answer = controller.send(Method::PUT, "/v1/nodes/active/states/provision", body).await;
    assert!(answer.fault().contains("configdrive"), "{}", answer.fault());
    let body = json!({"target": "undeploy"});
    let answer = controller.send_at("1.72", Method::PUT, "/v1/nodes/active/states/provision", body).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn manage_of_an_unreachable_bmc_ends_in_enroll_with_the_reason() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Enroll).await;
    let path = "/v1/nodes/n/states/provision";
    let answer = controller.send(Method::PUT, path, json!({"target": "manage"})).await;
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, Value::Null));
    assert_eq!(answer.headers["Location"], "http://127.0.0.1:6384/v1/nodes/n/states");
    let ended = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            let states = controller.get("/v1/nodes/n/states").await.body;
            if states["provision_state"] == "enroll" {
                return states;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert!(ended["last_error"].as_str().unwrap().contains("127.0.0.1:1"), "{ended}");
    let keys: Vec<_> = ended.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "boot_mode",
            "console_enabled",
            "last_error",
            "power_state",
            "provision_state",
            "provision_updated_at",
            "raid_config",
            "secure_boot",
            "target_power_state",
            "target_provision_state",
            "target_raid_config",
        ]
    );
    let history = controller.get("/v1/nodes/n/history").await.body;
    let last = history["history"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["severity"], "ERROR");
    let shown = controller.get(&format!("/v1/nodes/n/history/{}", last["uuid"].as_str().unwrap())).await.body;
    assert_eq!(shown["event"], last["event"]);
    for name in ["event_type", "conductor", "user", "project", "state", "target_provision_state"] {
        assert!(shown.get(name).is_some(), "{name}");
        assert!(last.get(name).is_none(), "{name}");
    }
    assert_eq!(shown["state"], "enroll");
    let detailed = controller.get("/v1/nodes/n/history?detail=true&sort_dir=desc&limit=1").await.body;
    assert_eq!(detailed["history"][0], shown);
    assert!(detailed["next"].as_str().unwrap().contains("marker="));
    assert_eq!(controller.get("/v1/nodes/n/history/x").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn maintenance_is_set_unset_and_stops_deploys() {
    let controller = Controller::start().await;
    let uuid = controller.node("n", ProvisionState::Available).await.uuid;
    let body = json!({"reason": "disk swap"});
    let answer = controller.send(Method::PUT, "/v1/nodes/n/maintenance", body).await;
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, Value::Null));
    let node = controller.get("/v1/nodes/n").await.body;
    assert_eq!((&node["maintenance"], &node["maintenance_reason"]), (&json!(true), &json!("disk swap")));
    let answer =
        controller.send(Method::PUT, "/v1/nodes/n/states/provision", json!({"target": "active"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.fault(),
        format!(
            "The provisioning operation can't be performed on node {uuid} because it's in maintenance mode."
        )
    );
    controller.send(Method::DELETE, "/v1/nodes/n/maintenance", Value::Null).await;
    let node = controller.get("/v1/nodes/n").await.body;
    assert_eq!((&node["maintenance"], &node["maintenance_reason"]), (&json!(false), &Value::Null));
    let answer = controller.send(Method::PUT, "/v1/nodes/n/maintenance", json!({"reason": null})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn power_takes_ironics_targets_only() {
    let controller = Controller::start().await;
    let uuid = controller.node("n", ProvisionState::Manageable).await.uuid;
    let answer = controller.send(Method::PUT, "/v1/nodes/n/states/power", json!({"target": "bogus"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.fault().contains(&format!("\"bogus\" can not be performed on node \"{uuid}\"")));
    let body = json!({"target": "soft power off"});
    let answer = controller.send_at("1.26", Method::PUT, "/v1/nodes/n/states/power", body).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
    let answer =
        controller.send(Method::PUT, "/v1/nodes/n/states/power", json!({"target": "power on"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn logs_are_read_from_where_one_stopped() {
    let controller = Controller::start().await;
    let node = controller.node("n", ProvisionState::Enroll).await.uuid;
    let boot = Boot {
        id: BootId::random(),
        node,
        token_hash: vec![1; 32],
        token_expires: Utc::now(),
        enrolled_key_hash: None,
        created: Utc::now(),
        closed: false,
    };
    controller.state.store.create_boot(&boot).await.unwrap();
    let record = |message: &str| LogRecord {
        time_ms: 1_795_000_000_000,
        level: LogLevel::Warn.into(),
        target: "agent::disk".into(),
        message: message.into(),
    };
    let records = [record("one"), record("two"), record("three")];
    controller.state.store.append_log(node, boot.id, &records).await.unwrap();
    let first = controller.get("/v1/nodes/n/logs?limit=2").await.body;
    let lines = first["logs"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&json!("one"), &json!("warning")));
    assert_eq!(lines[0]["boot"], boot.id.to_string());
    let rest = controller.get(&format!("/v1/nodes/n/logs?after={}", lines[1]["id"])).await.body;
    assert_eq!(rest["logs"][0]["message"], "three");
    assert_eq!(controller.get("/v1/nodes/n/logs?after=x").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn config_drives_are_taken_as_the_version_knows_them_and_never_shown() {
    let controller = Controller::start().await;
    controller.node("free", ProvisionState::Available).await;
    controller.node("busy", ProvisionState::Active).await;
    let ask = async |version: &str, node: &str, target: &str, drive: Value| {
        let path = format!("/v1/nodes/{node}/states/provision");
        let body = json!({"target": target, "configdrive": drive});
        let answer = controller.send_at(version, Method::PUT, &path, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        answer.fault()
    };
    let parts = json!({"user_data": "hunter2"});
    assert!(ask("1.55", "free", "active", parts.clone()).await.contains("use 1.56"));
    assert!(ask("1.58", "free", "active", json!({"vendor_data": {}})).await.contains("use 1.59"));
    assert!(ask("1.34", "busy", "rebuild", json!("H4sI")).await.contains("use 1.35"));
    assert!(ask("1.9", "free", "active", json!("H4sI")).await.contains("not of whole gzip data"));
    assert!(ask("1.56", "free", "active", json!({"soup": "hunter2"})).await.contains("has no part \"soup\""));
    // Past the config drive the next thing is what the node lacks: it was taken, large as it is.
    let large = json!({"user_data": "x".repeat(3 << 20)});
    assert!(ask("1.56", "free", "active", large).await.contains("image_source"));
    let node = controller.get("/v1/nodes/free").await.body;
    assert_eq!(node["instance_info"], json!({}));

    let drive = json!([{"op": "add", "path": "/instance_info/configdrive", "value": parts}]);
    let answer = controller.send(Method::PATCH, "/v1/nodes/free", drive).await;
    assert_eq!(answer.body["instance_info"], json!({"configdrive": "******"}));
}
