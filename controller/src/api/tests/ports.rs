//! Ports, as recorded.

use super::*;

const MAC: &str = "52:54:00:00:00:01";

#[tokio::test]
async fn ports_live_as_recorded() {
    let controller = Controller::start().await;
    let node = controller.node("node-0", ProvisionState::Enroll).await.uuid;
    let body = json!({
        "address": "52:54:00:00:00:01", "node_uuid": node, "physical_network": "provisioning",
        "local_link_connection": {"switch_id": "00:11:22:33:44:55", "port_id": "Gi1/0/1"},
    });
    let answer = controller.send(Method::POST, "/v1/ports", body.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let uuid = answer.body["uuid"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("Location"), format!("http://127.0.0.1:6384/v1/ports/{uuid}"));
    let keys: Vec<_> = answer.body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "address",
            "available_for_dynamic_portgroup",
            "category",
            "created_at",
            "description",
            "extra",
            "internal_info",
            "is_smartnic",
            "links",
            "local_link_connection",
            "name",
            "node_uuid",
            "physical_network",
            "portgroup_uuid",
            "pxe_enabled",
            "updated_at",
            "uuid",
            "vendor",
        ]
    );
    assert_eq!(answer.body["pxe_enabled"], true);
    let again = controller.send(Method::POST, "/v1/ports", body).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(again.fault(), "A port with MAC address 52:54:00:00:00:01 already exists.");
    for path in [
        "/v1/ports".to_owned(),
        "/v1/ports/detail".into(),
        "/v1/ports?node=node-0".into(),
        format!("/v1/ports?node_uuid={node}"),
        format!("/v1/ports?address={}", MAC.to_uppercase()),
        "/v1/nodes/node-0/ports".into(),
    ] {
        let listed = controller.get(&path).await.body;
        assert_eq!(listed["ports"][0]["address"], MAC, "{path}: {listed}");
    }
    let none = controller.get("/v1/ports?address=52:54:00:00:00:02").await.body;
    assert_eq!(none["ports"], json!([]));
}

#[tokio::test]
async fn a_port_is_changed_and_deleted() {
    let controller = Controller::start().await;
    let node = controller.node("n", ProvisionState::Enroll).await.uuid;
    let body = json!({"address": MAC, "node_uuid": node});
    let uuid =
        controller.send(Method::POST, "/v1/ports", body).await.body["uuid"].as_str().unwrap().to_owned();
    let patch = json!([{"op": "replace", "path": "/pxe_enabled", "value": "False"},
                       {"op": "add", "path": "/extra/rack", "value": 7}]);
    let path = format!("/v1/ports/{uuid}");
    let answer = controller.send(Method::PATCH, &path, patch).await;
    assert_eq!((&answer.body["pxe_enabled"], &answer.body["extra"]), (&json!(false), &json!({"rack": 7})));
    assert_eq!(controller.get(&path).await.body, answer.body);
    assert_eq!(controller.send(Method::DELETE, &path, Value::Null).await.status, StatusCode::NO_CONTENT);
    let gone = controller.get(&path).await;
    assert_eq!(
        (gone.status, gone.fault()),
        (StatusCode::NOT_FOUND, format!("Port {uuid} could not be found."))
    );
}

#[tokio::test]
async fn wrong_ports_are_refused() {
    let controller = Controller::start().await;
    let node = controller.node("n", ProvisionState::Enroll).await.uuid;
    for (body, sentence) in [
        (json!({"address": MAC}), "'node_uuid' is a required property"),
        (json!({"node_uuid": node}), "'address' is a required property"),
        (json!({"address": "52:54", "node_uuid": node}), "Expected valid MAC address for address: 52:54"),
        (json!({"address": MAC, "node_uuid": "ghost"}), "Expected UUID for node_uuid: ghost"),
        (json!({"address": MAC, "node_uuid": node, "bogus": 1}), "('bogus' was unexpected)"),
    ] {
        let answer = controller.send(Method::POST, "/v1/ports", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.fault().contains(sentence), "{body}: {}", answer.fault());
    }
}
