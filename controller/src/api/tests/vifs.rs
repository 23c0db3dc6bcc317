//! VIFs at the `flat` network interface, and the rules of ports that depend on them.

use super::*;

const GROUP: &str = "dddddddd-0001-4000-8000-000000000001";

async fn flat_node(controller: &Controller) -> String {
    let node = controller.node("n", ProvisionState::Manageable).await.uuid.to_string();
    let patch = json!([{"op": "replace", "path": "/network_interface", "value": "flat"}]);
    assert_eq!(controller.send(Method::PATCH, "/v1/nodes/n", patch).await.status, StatusCode::OK);
    node
}

async fn port(controller: &Controller, node: &str, last: u8, more: Value) -> String {
    let mut body = json!({"node_uuid": node, "address": format!("52:54:00:00:00:{last:02x}")});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let answer = controller.send(Method::POST, "/v1/ports", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["uuid"].as_str().unwrap().to_owned()
}

async fn attach(controller: &Controller, body: Value) -> u16 {
    controller.send(Method::POST, "/v1/nodes/n/vifs", body).await.status.as_u16()
}

#[tokio::test]
async fn a_vif_goes_on_a_free_port_once() {
    let controller = Controller::start().await;
    let node = flat_node(&controller).await;
    assert_eq!(attach(&controller, json!({"id": "vif-1"})).await, 400, "no port is free");
    let slow = port(&controller, &node, 1, json!({"pxe_enabled": false})).await;
    let pxe = port(&controller, &node, 2, json!({})).await;
    assert_eq!(attach(&controller, json!({"id": "vif-1"})).await, 204);
    let shown = controller.get(&format!("/v1/ports/{pxe}")).await.body;
    assert_eq!(shown["internal_info"], json!({"tenant_vif_port_id": "vif-1"}), "ports that boot come first");
    assert_eq!(attach(&controller, json!({"id": "vif-1"})).await, 409, "twice");
    assert_eq!(attach(&controller, json!({"id": "vif-2", "port_uuid": pxe})).await, 409, "the port is taken");
    assert_eq!(attach(&controller, json!({"id": "vif-2", "port_uuid": slow})).await, 204);
    assert_eq!(attach(&controller, json!({"id": "vif-3"})).await, 400, "all are taken");
    let listed = controller.get("/v1/nodes/n/vifs").await.body;
    assert_eq!(listed, json!({"vifs": [{"id": "vif-2"}, {"id": "vif-1"}]}), "in the order of the ports");

    let refused = controller.send(Method::DELETE, &format!("/v1/ports/{pxe}"), Value::Null).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().contains("bound to VIF vif-1"), "{}", refused.fault());
    let detach = |vif: &'static str| controller.send(Method::DELETE, vif, Value::Null);
    assert_eq!(detach("/v1/nodes/n/vifs/vif-1").await.status, StatusCode::NO_CONTENT);
    assert_eq!(detach("/v1/nodes/n/vifs/vif-1").await.status, StatusCode::BAD_REQUEST);
    let deleted = controller.send(Method::DELETE, &format!("/v1/ports/{pxe}"), Value::Null).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_port_group_comes_before_its_ports() {
    let controller = Controller::start().await;
    let node = flat_node(&controller).await;
    let group = json!({"uuid": GROUP, "node_uuid": node, "standalone_ports_supported": false});
    assert_eq!(controller.send(Method::POST, "/v1/portgroups", group).await.status, StatusCode::CREATED);
    assert_eq!(attach(&controller, json!({"id": "vif-1"})).await, 400, "a group without ports is of no use");
    let member = port(&controller, &node, 1, json!({"portgroup_uuid": GROUP})).await;
    assert_eq!(attach(&controller, json!({"id": "vif-1", "port_uuid": member})).await, 409, "not alone");
    assert_eq!(attach(&controller, json!({"id": "vif-1"})).await, 204);
    let shown = controller.get(&format!("/v1/portgroups/{GROUP}")).await.body;
    assert_eq!(shown["internal_info"]["tenant_vif_port_id"], "vif-1");
}

#[tokio::test]
async fn what_a_port_is_connected_to_stays_while_the_node_is_in_use() {
    let controller = Controller::start().await;
    let node = controller.node("n", ProvisionState::Active).await.uuid.to_string();
    let port = port(&controller, &node, 1, json!({})).await;
    let path = format!("/v1/ports/{port}");
    let change = |field: &str, value: Value| {
        let patch = json!([{"op": "replace", "path": field, "value": value}]);
        let (controller, path) = (&controller, &path);
        async move { controller.send(Method::PATCH, path, patch).await.status.as_u16() }
    };
    assert_eq!(change("/address", "52:54:00:00:00:99".into()).await, 409);
    assert_eq!(change("/pxe_enabled", false.into()).await, 409);
    assert_eq!(change("/extra", json!({"a": 1})).await, 200);
    let maintenance = controller.send(Method::PUT, "/v1/nodes/n/maintenance", json!({})).await;
    assert_eq!(maintenance.status, StatusCode::ACCEPTED);
    assert_eq!(change("/pxe_enabled", false.into()).await, 200);
    assert_eq!(change("/address", "52:54:00:00:00:99".into()).await, 200);
}
