//! What may change of a node when, and what a change brings with it.

use super::*;

async fn patch(controller: &Controller, path: &str, value: Value) -> Answer {
    let patch = json!([{"op": "add", "path": path, "value": value}]);
    controller.send(Method::PATCH, "/v1/nodes/n", patch).await
}

#[tokio::test]
async fn how_a_node_is_driven_stays_while_it_is_in_use() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Active).await;
    for (path, value) in [("/network_interface", json!("flat")), ("/resource_class", json!("large"))] {
        let answer = patch(&controller, path, value).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{path}");
        assert!(answer.fault().contains("Current state is 'active'."), "{}", answer.fault());
    }
    assert_eq!(patch(&controller, "/maintenance", true.into()).await.status, StatusCode::OK);
    let answer = patch(&controller, "/network_interface", "flat".into()).await;
    assert_eq!(answer.body["network_interface"], "flat", "maintenance lifts it");
    let answer = patch(&controller, "/resource_class", "large".into()).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "not for what Nova has counted");
}

#[tokio::test]
async fn reasons_go_with_what_they_explain() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Active).await;
    for what in ["protected", "retired"] {
        let reason = format!("{what}_reason");
        let alone = patch(&controller, &format!("/{reason}"), "because".into()).await;
        assert_eq!(alone.status, StatusCode::BAD_REQUEST, "{what}");
        assert_eq!(patch(&controller, &format!("/{what}"), true.into()).await.status, StatusCode::OK);
        let set = patch(&controller, &format!("/{reason}"), "because".into()).await;
        assert_eq!(set.body[&reason], "because");
        let unset = patch(&controller, &format!("/{what}"), false.into()).await;
        assert_eq!((&unset.body[what], &unset.body[&reason]), (&json!(false), &Value::Null));
    }
}

#[tokio::test]
async fn an_instance_is_not_overwritten_and_its_name_is_kept() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Available).await;
    let first = "33333333-3333-4333-8333-333333333333";
    assert_eq!(patch(&controller, "/instance_uuid", first.into()).await.status, StatusCode::OK);
    let other = patch(&controller, "/instance_uuid", "33333333-3333-4333-8333-333333333334".into()).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    assert!(other.fault().contains(&format!("is associated with instance {first}")), "{}", other.fault());
    let named = patch(&controller, "/instance_info", json!({"display_name": "web-1"})).await;
    assert_eq!(named.body["instance_name"], "web-1");
}

#[tokio::test]
async fn a_stuck_node_in_maintenance_gives_its_instance_back() {
    let controller = Controller::start().await;
    let mut node = controller.node("n", ProvisionState::Available).await;
    node.instance_uuid = Some("33333333-3333-4333-8333-333333333333".to_owned());
    node.provision_state = ProvisionState::Deploying;
    node.target_provision_state = Some(ProvisionState::Active);
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let remove = json!([{"op": "remove", "path": "/instance_uuid"}]);
    let refused = controller.send(Method::PATCH, "/v1/nodes/n", remove.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    // Not by the API: that would wake the engine, which has its own mind about a deploy.
    node.maintenance = true;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let freed = controller.send(Method::PATCH, "/v1/nodes/n", remove).await;
    assert_eq!((freed.status, &freed.body["instance_uuid"]), (StatusCode::OK, &Value::Null));
}
