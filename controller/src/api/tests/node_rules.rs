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

#[tokio::test]
async fn an_allocation_goes_with_its_instance_where_that_may_go() {
    let controller = Controller::start().await;
    let mut node = controller.node("n", ProvisionState::Available).await;
    let body = json!({"name": "a", "node": "n", "resource_class": "baremetal"});
    node.instance_uuid = Some("33333333-3333-4333-8333-333333333333".to_owned());
    node.provision_state = ProvisionState::Active;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let made = controller.send(Method::POST, "/v1/allocations", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let mut node = controller.state.store.node("n").await.unwrap();
    assert!(node.allocation_uuid.is_some(), "the node was taken as it is");
    let remove = json!([{"op": "remove", "path": "/instance_uuid"}]);
    let refused = controller.send(Method::PATCH, "/v1/nodes/n", remove.clone()).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().contains("with an allocation can not have instance_uuid removed"), "{refused:?}");
    node.maintenance = true;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let freed = controller.send(Method::PATCH, "/v1/nodes/n", remove).await;
    assert_eq!((freed.status, &freed.body["allocation_uuid"]), (StatusCode::OK, &Value::Null), "{freed:?}");
    assert_eq!(controller.get("/v1/allocations/a").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_node_of_another_conductor_group_has_no_controller() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Available).await;
    let made = json!({"driver": "redfish", "conductor_group": "Rack9"});
    for answer in [
        controller.send(Method::POST, "/v1/nodes", made).await,
        patch(&controller, "/conductor_group", "rack9".into()).await,
    ] {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.fault().starts_with("No valid host was found. Reason: No conductor service registered")
        );
    }
    let grouped = Controller::start_with(|config| config.conductor_group = "rack9".to_owned()).await;
    let shown = grouped.get("/v1/conductors").await.body;
    assert_eq!(shown["conductors"][0]["conductor_group"], "rack9");
    for group in [json!({}), json!({"conductor_group": "RACK9"})] {
        let mut body = json!({"driver": "redfish"});
        body.as_object_mut().unwrap().extend(group.as_object().cloned().unwrap());
        let made = grouped.send(Method::POST, "/v1/nodes", body).await;
        assert_eq!((made.status, &made.body["conductor_group"]), (StatusCode::CREATED, &json!("rack9")));
    }
}

#[tokio::test]
async fn filters_that_cannot_match_are_refused() {
    let controller = Controller::start().await;
    for (query, sentence) in [
        ("fault=tired", "Unrecognized fault \"tired\" is specified"),
        ("instance_uuid=zz", "Expected UUID for instance_uuid: zz"),
        ("marker=zz", "Expected UUID for marker: zz"),
    ] {
        let answer = controller.get(&format!("/v1/nodes?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.fault().starts_with(sentence), "{query}: {}", answer.fault());
    }
    let fault = controller.get("/v1/nodes?fault=rescue%20abort%20failure").await;
    assert_eq!((fault.status, fault.body), (StatusCode::OK, json!({"nodes": []})));
}

#[tokio::test]
async fn network_data_must_be_what_a_ramdisk_can_read() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Available).await;
    let answer = patch(&controller, "/network_data", json!({"a": 1})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.fault(), "Invalid network_data: 'links' is a required property");
    let made = json!({"driver": "redfish", "network_data": {"links": [5]}});
    assert_eq!(controller.send(Method::POST, "/v1/nodes", made).await.status, StatusCode::BAD_REQUEST);
    let good = json!({"links": [], "networks": [], "services": [{"type": "dns", "address": "192.0.2.53"}]});
    for value in [good, json!({})] {
        let answer = patch(&controller, "/network_data", value.clone()).await;
        assert_eq!((answer.status, &answer.body["network_data"]), (StatusCode::OK, &value));
    }
}

#[tokio::test]
async fn a_runbook_is_for_nodes_with_its_traits_and_to_old_clients_for_those_with_its_name() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Manageable).await;
    let steps = json!([{"interface": "power", "step": "power_on", "args": {}, "order": 1}]);
    let made = json!({"name": "CUSTOM_BOOK", "steps": steps});
    let made = controller.send(Method::POST, "/v1/runbooks", made).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let clean = async |version: &str| {
        let body = json!({"target": "clean", "runbook": "CUSTOM_BOOK"});
        controller.send_at(version, Method::PUT, "/v1/nodes/n/states/provision", body).await
    };
    let old = clean("1.111").await;
    assert!(old.fault().contains("has not been approved for use on this node"), "{old:?}");
    let none = clean("1.112").await;
    assert!(none.fault().ends_with("Please ask an administrator to add traits to the runbook."), "{none:?}");
    let put = async |path: &str| {
        let answer = controller.send(Method::PUT, path, Value::Null).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}: {answer:?}");
    };
    put("/v1/runbooks/CUSTOM_BOOK/traits/CUSTOM_GPU").await;
    put("/v1/nodes/n/traits/CUSTOM_BOOK").await;
    let other = clean("1.112").await;
    assert!(other.fault().contains("any of its traits (CUSTOM_GPU)"), "{other:?}");
    put("/v1/nodes/n/traits/CUSTOM_GPU").await;
    assert_eq!(clean("1.112").await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_failed_service_is_not_aborted_in_maintenance() {
    let controller = Controller::start().await;
    let mut node = controller.node("n", ProvisionState::ServiceFailed).await;
    node.maintenance = true;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let abort = async || {
        controller.send(Method::PUT, "/v1/nodes/n/states/provision", json!({"target": "abort"})).await
    };
    let refused = abort().await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().starts_with("Can not abort service on node"), "{}", refused.fault());
    assert_eq!(patch(&controller, "/maintenance", false.into()).await.status, StatusCode::OK);
    assert_eq!(abort().await.status, StatusCode::ACCEPTED);
    assert_eq!(controller.get("/v1/nodes/n").await.body["provision_state"], "active");
}

#[tokio::test]
async fn values_of_fields_are_refused_in_ironics_words() {
    let controller = Controller::start().await;
    let node = controller.node("n", ProvisionState::Manageable).await.uuid;
    let long = "x".repeat(90);
    for (field, value, problem) in [
        ("resource_class", json!(long), format!("'{}' is too long", &long[..64])),
        ("resource_class", json!(5), "5 is not of type 'string', 'null'".to_owned()),
        ("properties", json!(true), "True is not of type 'object', 'null'".to_owned()),
    ] {
        let made =
            controller.send(Method::POST, "/v1/nodes", json!({"driver": "redfish", field: value})).await;
        assert_eq!(
            (made.status, made.fault()),
            (StatusCode::BAD_REQUEST, format!("Schema error for node: {problem}"))
        );
        let changed = patch(&controller, &format!("/{field}"), value).await;
        let wanted = format!("Schema error for patch: {problem}");
        assert_eq!((changed.status, changed.fault()), (StatusCode::BAD_REQUEST, wanted));
    }
    let made = controller.send(Method::POST, "/v1/nodes", json!({"driver": "redfish", "name": "a b"})).await;
    assert_eq!(made.fault(), "Cannot create node with invalid name 'a b'");
    let named = patch(&controller, "/name", "a b".into()).await;
    assert_eq!(named.fault(), "Node n: Cannot change name to invalid name 'a b'");
    let cleaned = patch(&controller, "/automated_clean", "maybe".into()).await;
    assert!(
        cleaned
            .fault()
            .starts_with("Invalid automated_clean: Unrecognized value 'maybe', acceptable values are:")
    );
    for (path, body, sentence) in [
        ("ports", json!({"address": "zz", "node_uuid": node}), "Expected valid MAC address for address: zz"),
        (
            "ports",
            json!({"address": 5, "node_uuid": node}),
            "Schema error for port: 5 is not of type 'string'",
        ),
        (
            "ports",
            json!({"address": "52:54:00:00:00:01", "node_uuid": "zz"}),
            "Expected UUID for node_uuid: zz",
        ),
        (
            "portgroups",
            json!({"address": "zz", "node_uuid": node}),
            "Expected valid MAC address for address: zz",
        ),
        (
            "portgroups",
            json!({"name": "a b", "node_uuid": node}),
            "Cannot create portgroup with invalid name 'a b'",
        ),
        ("chassis", json!({"extra": 5}), "Schema error for chassis: 5 is not of type 'object', 'null'"),
    ] {
        let answer = controller.send(Method::POST, &format!("/v1/{path}"), body).await;
        assert_eq!((answer.status, answer.fault().as_str()), (StatusCode::BAD_REQUEST, sentence), "{path}");
    }
}
