//! Ramdisks of others: lookup, heartbeat, inspection data.

use super::*;
use crate::node::inventory::Inventory;

const MAC: &str = "52:54:00:00:00:33";

/// A controller that serves ramdisks, and a node with a port.
async fn with_node(state: ProvisionState) -> (Controller, Node) {
    let mut controller = Controller::start().await;
    controller.state.config.enable_ramdisk_endpoints = true;
    // Nobody works on the node but the ramdisk.
    controller.state.engine.stop().await;
    let body = json!({"driver": "fake-hardware", "name": "n", "properties": {"cpu_arch": "x86_64"}});
    controller.send(Method::POST, "/v1/nodes", body).await;
    let mut node = controller.state.store.node("n").await.unwrap();
    node.provision_state = state;
    controller.state.store.update_node(&mut node, None).await.unwrap();
    let port = json!({"address": MAC, "node_uuid": node.uuid});
    assert_eq!(controller.send(Method::POST, "/v1/ports", port).await.status, StatusCode::CREATED);
    (controller, node)
}

fn lookup() -> String {
    format!("/v1/lookup?addresses=52-54-00-00-00-99,nonsense,{}", MAC.to_uppercase())
}

#[tokio::test]
async fn they_are_refused_unless_asked_for() {
    let controller = Controller::start().await;
    let answer = controller.get("/v1/lookup?addresses=52:54:00:00:00:33").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.fault(), "Access was denied to the following resource: /v1/lookup");
    for path in ["/v1/heartbeat/n", "/v1/continue_inspection"] {
        let answer = controller.send(Method::POST, path, json!({})).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn lookup_gives_the_token_once() {
    let (controller, node) = with_node(ProvisionState::WaitCallBack).await;
    let first = controller.send_at("1.62", Method::GET, &lookup(), Value::Null).await;
    assert_eq!(first.status, StatusCode::OK, "{first:?}");
    let token = first.body["config"]["agent_token"].as_str().unwrap();
    assert_eq!(token.len(), 43);
    assert_eq!(first.body["config"]["heartbeat_timeout"], 300);
    let shown = first.body["node"].as_object().unwrap();
    let keys: Vec<_> = shown.keys().map(String::as_str).collect();
    assert_eq!(keys, ["driver_internal_info", "instance_info", "links", "properties", "uuid"]);
    assert_eq!(shown["uuid"], node.uuid.to_string());
    assert_eq!(shown["driver_internal_info"]["agent_secret_token"], "******");
    let second = controller.send_at("1.62", Method::GET, &lookup(), Value::Null).await;
    assert_eq!(second.body["config"]["agent_token"], "******");
    // Not even the database has it.
    let stored = controller.state.store.node("n").await.unwrap();
    assert!(!serde_json::to_string(&stored).unwrap().contains(token));
    let by_uuid = format!("/v1/lookup?node_uuid={}", node.uuid);
    let old = controller.send_at("1.61", Method::GET, &by_uuid, Value::Null).await;
    assert_eq!((old.status, &old.body["config"]["agent_token"]), (StatusCode::OK, &Value::Null));
}

#[tokio::test]
async fn lookup_tells_nothing_of_nodes_that_do_not_wait() {
    let (controller, node) = with_node(ProvisionState::Active).await;
    let unknown = "/v1/lookup?addresses=52:54:00:00:00:99".to_owned();
    for path in [lookup(), format!("/v1/lookup?node_uuid={}", node.uuid), unknown] {
        let answer = controller.get(&path).await;
        assert_eq!(
            (answer.status, answer.fault()),
            (StatusCode::NOT_FOUND, "Resource could not be found.".into())
        );
    }
    let nothing = controller.get("/v1/lookup?addresses=nonsense").await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    assert!(nothing.fault().contains("At least one of 'addresses' and 'node_uuid'"), "{}", nothing.fault());
    assert_eq!(controller.get("/v1/lookup?node_uuid=n").await.status, StatusCode::BAD_REQUEST);
    let old = controller.send_at("1.21", Method::GET, &lookup(), Value::Null).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn heartbeats_are_recorded_and_guarded_by_the_token() {
    let (controller, _) = with_node(ProvisionState::CleanWait).await;
    let found = controller.get(&lookup()).await.body;
    let token = found["config"]["agent_token"].as_str().unwrap().to_owned();
    let good = json!({
        "callback_url": "https://192.0.2.9:9999", "agent_token": token, "agent_version": "13.0.0",
        "agent_verify_ca": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let beat = async |version: &str, body: Value| {
        controller.send_at(version, Method::POST, "/v1/heartbeat/n", body).await
    };
    for (body, sentence) in [
        (
            with("agent_version", Value::Null),
            "Agent did not transmit a version, and a version is required. \
            Please update the agent being used.",
        ),
        (with("agent_token", json!("wrong")), "Invalid or missing agent token received."),
        (with("agent_token", Value::Null), "Agent token is required for heartbeat processing."),
        (with("callback_url", json!("http://192.0.2.9:9999")), "TLS is required by configuration."),
        (
            with("callback_url", json!("ftp://x")),
            "An issue with the supplied \"callback_url\" has been detected.",
        ),
        (with("agent_status", json!("soup")), "Agent status is invalid. Valid states are start,end,error."),
    ] {
        let answer = beat("1.115", body).await;
        assert_eq!((answer.status, answer.fault()), (StatusCode::BAD_REQUEST, sentence.to_owned()));
    }
    assert_eq!(beat("1.115", good.clone()).await.status, StatusCode::ACCEPTED);
    assert_eq!(beat("1.115", good.clone()).await.status, StatusCode::ACCEPTED);
    let info = controller.get("/v1/nodes/n").await.body["driver_internal_info"].clone();
    assert_eq!(info["agent_url"], "https://192.0.2.9:9999");
    assert_eq!(info["agent_version"], "13.0.0");
    assert!(info["agent_last_heartbeat"].is_string());
    for (body, part) in [
        (
            with("callback_url", json!("https://192.0.2.66:9999")),
            "Detected change in ramdisk provided \"callback_url\"",
        ),
        (with("agent_verify_ca", json!("other")), "Detected change in ramdisk provided \"agent_verify_ca\""),
    ] {
        let answer = beat("1.115", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.fault().starts_with(part), "{}", answer.fault());
    }
    for (version, part) in [("1.35", "agent_version"), ("1.67", "agent_verify_ca")] {
        let answer = beat(version, good.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.fault().contains(part), "{}", answer.fault());
    }
    assert_eq!(beat("1.21", good.clone()).await.status, StatusCode::NOT_FOUND);
}

fn found() -> Value {
    json!({
        "inventory": {
            "interfaces": [{"name": "eth0", "mac_address": MAC}, {"name": "eth1", "mac_address": "52:54:00:00:00:34"}],
            "cpu": {"architecture": "aarch64", "count": 4}, "boot": {"pxe_interface": MAC}, "bmc_address": "192.0.2.5",
        },
        "root_disk": {"name": "/dev/sda"}, "error": null,
    })
}

#[tokio::test]
async fn inspection_data_end_the_inspection_and_are_kept() {
    let (controller, node) = with_node(ProvisionState::InspectWait).await;
    let answer = controller.get("/v1/nodes/n/inventory").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.fault().contains("could not be found"), "{}", answer.fault());
    let answer = controller.send_at("1.84", Method::POST, "/v1/continue_inspection", found()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.body["node"]["uuid"], node.uuid.to_string());
    assert_eq!(answer.body["config"]["agent_token"].as_str().unwrap().len(), 43);
    let node = controller.state.store.node("n").await.unwrap();
    assert_eq!(node.provision_state, ProvisionState::Manageable);
    assert_eq!(node.properties["cpu_arch"], "aarch64");
    assert!(node.inspection_finished_at.is_some());
    assert!(!node.driver_internal_info.contains_key("agent_secret_token"), "the ramdisk is gone");
    let inventory = controller.get("/v1/nodes/n/inventory").await.body;
    assert_eq!(inventory["inventory"]["cpu"]["count"], 4);
    assert_eq!(inventory["plugin_data"]["root_disk"]["name"], "/dev/sda");
    assert_eq!(
        controller.send_at("1.80", Method::GET, "/v1/nodes/n/inventory", Value::Null).await.status,
        StatusCode::NOT_FOUND
    );
    // A second one comes too late.
    let late = controller.send_at("1.84", Method::POST, "/v1/continue_inspection", found()).await;
    assert_eq!(late.status, StatusCode::NOT_FOUND);
    assert_eq!(controller.state.store.resources::<Inventory>(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn inspection_data_that_contradict_or_lack_something_are_refused() {
    let (controller, _) = with_node(ProvisionState::InspectWait).await;
    let post = async |version: &str, query: &str, body: Value| {
        controller.send_at(version, Method::POST, &format!("/v1/continue_inspection{query}"), body).await
    };
    for body in [
        json!({}),
        json!({"inventory": {}}),
        json!({"inventory": {"interfaces": []}}),
        json!({"inventory": {"interfaces": [{"name": "x"}]}}),
        json!({"inventory": {"interfaces": [{"mac_address": "x"}]}}),
    ] {
        let answer = post("1.84", "", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(post("1.83", "", found()).await.status, StatusCode::NOT_FOUND);
    let nobody = format!("?node_uuid={}", uuid::Uuid::new_v4());
    assert_eq!(post("1.84", &nobody, found()).await.status, StatusCode::NOT_FOUND);
    // The BMC that was found is that of another node in inspection.
    let mut other = controller.node("other", ProvisionState::InspectWait).await;
    other.driver_info.insert("redfish_address".into(), json!("https://192.0.2.5"));
    controller.state.store.update_node(&mut other, None).await.unwrap();
    assert_eq!(post("1.84", "", found()).await.status, StatusCode::NOT_FOUND);
    // The inspector-compatible form, once nothing contradicts.
    let mut other = controller.state.store.node("other").await.unwrap();
    other.driver_info.insert("redfish_address".into(), json!("https://192.0.2.6"));
    controller.state.store.update_node(&mut other, None).await.unwrap();
    let answer = post("1.1", "", found()).await;
    let node = controller.state.store.node("n").await.unwrap();
    assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, json!({"uuid": node.uuid.to_string()})));
}

async fn add_rule(controller: &Controller, rule: Value) -> String {
    let answer = controller.send(Method::POST, "/v1/inspection_rules", rule).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["uuid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn inspection_rules_are_applied_to_what_was_found() {
    let (controller, _) = with_node(ProvisionState::InspectWait).await;
    let four = json!([{"op": "eq", "args": {"values": ["{inventory[cpu][count]}", "4"]}}]);
    let actions = json!([
        {"op": "set-attribute", "args": {"path": "/extra/arch", "value": "{inventory[cpu][architecture]}"}},
        {"op": "set-attribute", "args": {"path": "/extra/inspected_by", "value": "{node.inspect_interface}"}},
        {"op": "set-capability", "args": {"name": "cores", "value": "{inventory[cpu][count]}"}},
        {"op": "add-trait", "args": {"name": "CUSTOM_SMALL"}},
        {"op": "set-port-attribute", "args": {"port_id": "{plugin_data[macs][0]}", "path": "physical_network", "value": "net"}},
        {"op": "set-plugin-data", "args": {"path": "judged", "value": true}},
    ]);
    add_rule(&controller, json!({"conditions": four, "actions": actions})).await;
    let eight = json!([{"op": "!eq", "args": {"values": ["{inventory[cpu][count]}", "4"]}}]);
    let fail = json!([{"op": "fail", "args": {"msg": "not four"}}]);
    add_rule(&controller, json!({"conditions": eight, "actions": fail})).await;
    let answer = controller.send_at("1.84", Method::POST, "/v1/continue_inspection", found()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let node = controller.state.store.node("n").await.unwrap();
    assert_eq!(node.provision_state, ProvisionState::Manageable);
    assert_eq!(Value::Object(node.extra), json!({"arch": "aarch64", "inspected_by": "fake"}));
    assert_eq!(
        (&node.properties["capabilities"], node.traits),
        (&json!("cores:4"), vec!["CUSTOM_SMALL".to_owned()])
    );
    let port = controller.state.store.ports(None, Some(MAC)).await.unwrap().remove(0);
    assert_eq!(port.physical_network.as_deref(), Some("net"));
    let inventory = controller.get("/v1/nodes/n/inventory").await.body;
    assert_eq!(inventory["plugin_data"]["judged"], true);
}

#[tokio::test]
async fn a_rule_that_fails_fails_the_inspection_and_changes_nothing() {
    let (controller, _) = with_node(ProvisionState::InspectWait).await;
    let set = json!({"op": "set-attribute", "args": {"path": "extra/x", "value": 1}});
    let fail = json!({"op": "fail", "args": {"msg": "only {inventory[cpu][count]} cores"}});
    add_rule(&controller, json!({"actions": [set, fail]})).await;
    let answer = controller.send_at("1.84", Method::POST, "/v1/continue_inspection", found()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let node = controller.state.store.node("n").await.unwrap();
    // The engine, which this test has stopped, stops the machine and enters `inspect failed`.
    assert_eq!(node.driver_internal_info["failing"], "Failed to inspect hardware. Reason: only 4 cores");
    assert!(node.extra.is_empty());
}

#[tokio::test]
async fn rules_that_could_never_be_applied_are_refused() {
    let controller = Controller::start().await;
    for (rule, part) in [
        (json!({"actions": [{"op": "api-call", "args": {"url": "http://192.0.2.1/"}}]}), "sends no requests"),
        (json!({"actions": [{"op": "fail", "args": {}}]}), "missing required argument(s): msg"),
        (
            json!({"actions": [{"op": "set-attribute", "args": ["driver", "x"]}]}),
            "may not be changed by a rule",
        ),
        (
            json!({"actions": [{"op": "fail", "args": ["x"]}], "conditions": [{"op": "matches", "args": ["x", "("]}]}),
            "invalid regular expression",
        ),
        (
            json!({"actions": [{"op": "fail", "args": ["x"]}], "conditions": [{"op": "is-none", "args": ["{ram}"]}]}),
            "names begin with inventory",
        ),
    ] {
        let answer = controller.send(Method::POST, "/v1/inspection_rules", rule).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        assert!(answer.fault().contains(part), "{}", answer.fault());
    }
}

#[tokio::test]
async fn without_the_token_nobody_learns_which_nodes_there_are() {
    let (controller, _) = with_node(ProvisionState::CleanWait).await;
    let node = controller.state.store.node("n").await.unwrap();
    // Nor whether one is busy.
    let busy = controller.state.engine.hold(node.uuid).await.unwrap();
    let body = json!({"callback_url": "http://x", "agent_token": "wrong", "agent_version": "13.0.0"});
    let here = controller.send_at("1.115", Method::POST, "/v1/heartbeat/n", body.clone()).await;
    let nowhere = controller.send_at("1.115", Method::POST, "/v1/heartbeat/nope", body).await;
    assert_eq!((here.status, here.fault()), (nowhere.status, nowhere.fault()));
    assert_eq!(here.fault(), "Invalid or missing agent token received.");
    drop(busy);
}
