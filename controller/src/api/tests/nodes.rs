//! Nodes: create, list, show, change, delete. Statuses and sentences as recorded from Ironic.

use super::*;

/// All keys of a node at 1.115, as recorded.
const KEYS: &str = "uuid created_at updated_at automated_clean bios_interface boot_interface boot_mode clean_step \
    conductor_group console_enabled console_interface disable_power_off deploy_interface deploy_step description \
    driver driver_info driver_internal_info extra fault firmware_interface health inspection_finished_at \
    inspection_started_at inspect_interface instance_info instance_name instance_uuid last_error lessee maintenance \
    maintenance_reason management_interface name network_data network_interface owner parent_node power_interface \
    power_state properties protected protected_reason provision_state provision_updated_at raid_config \
    raid_interface rescue_interface reservation resource_class retired retired_reason secure_boot service_step \
    shard storage_interface target_power_state target_provision_state target_raid_config traits vendor_interface \
    links conductor allocation_uuid chassis_uuid ports states portgroups volume";

const UUID: &str = "11111111-1111-4111-8111-111111111111";

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn create_answers_as_recorded() {
    let controller = Controller::start().await;
    let body = json!({
        "driver": "redfish", "driver_info": {"redfish_address": "http://127.0.0.1:1"},
        "properties": {"cpus": 4, "capabilities": "boot_mode:uefi"}, "uuid": UUID, "name": "node-0",
        "resource_class": "baremetal",
    });
    let answer = controller.send(Method::POST, "/v1/nodes", body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("Location"), format!("http://127.0.0.1:6384/v1/nodes/{UUID}"));
    let mut recorded: Vec<_> = KEYS.split_whitespace().map(str::to_owned).collect();
    recorded.sort();
    assert_eq!(keys(&answer.body), recorded);
    let expected = json!({
        "uuid": UUID, "name": "node-0", "provision_state": "enroll", "power_state": null, "instance_uuid": null,
        "maintenance": false, "driver": "redfish", "boot_interface": "redfish-virtual-media",
        "deploy_interface": "direct", "extra": {}, "instance_info": {}, "traits": [], "raid_config": {},
        "properties": {"cpus": 4, "capabilities": "boot_mode:uefi"}, "conductor": "localhost.localdomain",
        "target_provision_state": null, "updated_at": null, "retired": false, "automated_clean": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&answer.body[key], value, "{key}");
    }
    let created = answer.body["created_at"].as_str().unwrap();
    assert!(
        created.ends_with("+00:00") && created.len() == "2026-11-21T01:31:14.447716+00:00".len(),
        "{created}"
    );
    assert_eq!(answer.body["states"][0]["href"], format!("http://127.0.0.1:6384/v1/nodes/{UUID}/states"));
    let shown = controller.get("/v1/nodes/node-0").await;
    assert_eq!(shown.body, answer.body);
}

#[tokio::test]
async fn create_refuses_as_recorded() {
    let controller = Controller::start().await;
    controller.node("rf-0", ProvisionState::Enroll).await;
    for (body, status, sentence) in [
        (
            json!({"driver": "nope"}),
            400,
            "No valid host was found. Reason: No conductor service registered which \
            supports driver nope for conductor group \"\". Ensure the driver is valid and enabled.",
        ),
        (json!({"name": "x"}), 400, "Schema error for node: 'driver' is a required property"),
        (json!({"driver": "redfish", "name": "rf-0"}), 409, "A node with name rf-0 already exists."),
        (
            json!({"driver": "redfish", "bogus": 1}),
            400,
            "Schema error for node: Additional properties are not allowed ('bogus' was unexpected)",
        ),
        (
            json!({"driver": "redfish", "provision_state": "active"}),
            400,
            "('provision_state' was unexpected)",
        ),
        (json!({"driver": "redfish", "name": "detail"}), 400, "is reserved"),
        (json!({"driver": "redfish", "uuid": "x"}), 400, "Expected UUID for uuid: x"),
        (
            json!({"driver": "redfish", "extra": "x"}),
            400,
            "Schema error for node: '...' is not of type 'object', 'null'",
        ),
        (json!({"driver": "redfish", "boot_interface": "ipxe"}), 400, "does not support boot interface ipxe"),
        (json!({"driver": "redfish", "chassis_uuid": UUID}), 400, "could not be found"),
        (
            json!({"driver": "redfish", "parent_node": "ghost"}),
            400,
            "apply the requested parent_node 'ghost'",
        ),
        (json!(["driver"]), 400, "must be a JSON object"),
    ] {
        let answer = controller.send(Method::POST, "/v1/nodes", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
        assert!(answer.fault().contains(sentence), "{body}: {}", answer.fault());
    }
}

#[tokio::test]
async fn fields_of_newer_versions_are_neither_shown_nor_taken() {
    let controller = Controller::start().await;
    controller.node("n", ProvisionState::Available).await;
    let uuid = controller.state.store.node("n").await.unwrap().uuid;
    let old = controller.send_at("1.1", Method::GET, &format!("/v1/nodes/{uuid}"), Value::Null).await.body;
    assert_eq!(old["provision_state"], Value::Null, "before 1.2 available was null");
    for newer in ["name", "driver_internal_info", "resource_class", "traits", "states", "boot_interface"] {
        assert!(old.get(newer).is_none(), "{newer}");
    }
    let body = json!({"driver": "redfish", "resource_class": "x"});
    let answer = controller.send_at("1.20", Method::POST, "/v1/nodes", body).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
    let answer = controller.send_at("1.10", Method::POST, "/v1/nodes", json!({"driver": "redfish"})).await;
    assert_eq!(answer.body["provision_state"], "available", "enroll came with 1.11");
    let patch = json!([{"op": "add", "path": "/shard", "value": "s"}]);
    let answer = controller.send_at("1.81", Method::PATCH, "/v1/nodes/n", patch).await;
    assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn lists_pages_fields_and_details() {
    let controller = Controller::start().await;
    for name in ["a", "b", "c"] {
        controller.node(name, ProvisionState::Enroll).await;
    }
    let all = controller.get("/v1/nodes").await.body;
    assert_eq!(
        keys(&all["nodes"][0]),
        ["instance_uuid", "links", "maintenance", "name", "power_state", "provision_state", "uuid"]
    );
    assert!(all.get("next").is_none());
    let page = controller.get("/v1/nodes?limit=2&fields=uuid,name").await.body;
    assert_eq!(keys(&page["nodes"][0]), ["links", "name", "uuid"]);
    let last = page["nodes"][1]["uuid"].as_str().unwrap();
    let next = format!(
        "http://127.0.0.1:6384/v1/nodes?sort_key=id&sort_dir=asc&fields=uuid,name&limit=2&marker={last}"
    );
    assert_eq!(page["next"], next);
    let rest = controller.get(next.strip_prefix("http://127.0.0.1:6384").unwrap()).await.body;
    assert_eq!(rest["nodes"][0]["name"], "c");
    assert!(rest.get("next").is_none() && rest["nodes"].as_array().unwrap().len() == 1);
    let detail = controller.get("/v1/nodes/detail?limit=1").await.body;
    assert_eq!(keys(&detail["nodes"][0]).len(), 69);
    let sorted = controller.get("/v1/nodes?sort_key=name&sort_dir=desc&fields=name").await.body;
    assert_eq!(sorted["nodes"][0]["name"], "c");
    for (path, status, sentence) in [
        ("/v1/nodes?fields=nope", 400, "\"nope\""),
        ("/v1/nodes/a?fields=nope", 400, "\"nope\""),
        (
            "/v1/nodes?detail=True&fields=uuid",
            400,
            "Can not specify ?detail=True and fields in the same request.",
        ),
        (
            "/v1/nodes?limit=2&marker=00000000-0000-4000-8000-000000000000",
            404,
            "Node 00000000-0000-4000-8000-000000000000 could not be found.",
        ),
        ("/v1/nodes?limit=-1", 400, "Limit must be positive"),
        ("/v1/nodes?sort_key=driver_info", 400, "an invalid field for sorting"),
        ("/v1/nodes?nonsense=1", 400, "nonsense"),
        ("/v1/nodes?provision_state=nope", 400, "\"nope\" is not valid"),
        ("/v1/nodes?maintenance=maybe", 400, "maintenance"),
        ("/v1/nodes/no-such-node", 404, "Node no-such-node could not be found."),
    ] {
        let answer = controller.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.fault().contains(sentence), "{path}: {}", answer.fault());
    }
}

#[tokio::test]
async fn lists_only_what_a_filter_lets_through() {
    let controller = Controller::start().await;
    controller.node("a", ProvisionState::Active).await;
    controller.node("b", ProvisionState::Available).await;
    let patch = json!([
        {"op": "add", "path": "/instance_uuid", "value": UUID},
        {"op": "add", "path": "/description", "value": "Rack 7"},
    ]);
    assert_eq!(controller.send(Method::PATCH, "/v1/nodes/a", patch).await.status, StatusCode::OK);
    let child = json!({"driver": "redfish", "name": "child", "parent_node": "a"});
    assert_eq!(controller.send(Method::POST, "/v1/nodes", child).await.status, StatusCode::CREATED);
    for (query, names) in [
        ("provision_state=active", vec!["a"]),
        ("provision_state=deleting", vec![]),
        ("associated=True", vec!["a"]),
        ("associated=False", vec!["b"]),
        ("maintenance=True", vec![]),
        ("driver=redfish&resource_class=baremetal", vec!["a", "b"]),
        ("driver=ipmi", vec![]),
        ("description_contains=rack", vec!["a"]),
        ("conductor=elsewhere", vec![]),
        ("include_children=True", vec!["a", "b", "child"]),
        ("parent_node=a", vec!["child"]),
        (&format!("instance_uuid={UUID}"), vec!["a"]),
        ("", vec!["a", "b"]),
    ] {
        let answer = controller.get(&format!("/v1/nodes?{query}")).await;
        let found: Vec<_> = answer.body["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{query}");
    }
}

#[tokio::test]
async fn patches_as_recorded() {
    let controller = Controller::start().await;
    let uuid = controller.node("node-0", ProvisionState::Manageable).await.uuid;
    let patch = async |body: Value| controller.send(Method::PATCH, &format!("/v1/nodes/{uuid}"), body).await;
    let answer = patch(json!([
        {"op": "add", "path": "/instance_info/image_source", "value": "http://127.0.0.1:8080/img.raw"},
        {"op": "add", "path": "/instance_info/capabilities", "value": {"boot_option": "local"}},
        {"op": "add", "path": "/name", "value": "node-0b"}, {"op": "add", "path": "/retired", "value": "True"},
        {"op": "add", "path": "/owner", "value": "proj1"},
    ]))
    .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.body["instance_info"],
        json!({"image_source": "http://127.0.0.1:8080/img.raw", "capabilities": {"boot_option": "local"}})
    );
    assert_eq!(answer.body["retired"], true);
    assert!(answer.body["updated_at"].is_string());
    let answer =
        patch(json!([{"op": "remove", "path": "/retired"}, {"op": "remove", "path": "/owner"}])).await;
    assert_eq!((&answer.body["retired"], &answer.body["owner"]), (&json!(false), &Value::Null));
    for (body, status, sentence) in [
        (
            json!([{"op": "replace", "path": "/uuid", "value": "x"}]),
            400,
            "Cannot patch /uuid. Only the following can be updated: automated_clean, bios_interface,",
        ),
        (json!([{"op": "add", "path": "/provision_state", "value": "active"}]), 400, "Cannot patch"),
        (json!([{"op": "add", "path": "/traits", "value": []}]), 400, "Cannot patch /traits"),
        (
            json!([{"op": "remove", "path": "/extra/none"}]),
            400,
            "Couldn't apply patch '{'op': 'remove', 'path': '/extra/none'}'. Reason: can't remove a non-existent \
             object 'none'",
        ),
        (
            json!([{"op": "add", "path": "/name", "value": "a b"}]),
            400,
            "Cannot change name to invalid name 'a b'",
        ),
        (json!([{"op": "replace", "path": "/driver", "value": "nope"}]), 400, "driver nope"),
        (json!([{"op": "remove", "path": "/driver"}]), 400, "'driver' is a required property"),
        (json!([{"op": "add", "path": "/protected", "value": true}]), 409, "can only be made protected in"),
        (json!([{"op": "add", "path": "/retired_reason", "value": "old"}]), 400, "retired_reason"),
        (json!([{"op": "test", "path": "/name", "value": "a"}]), 400, "Schema error for patch"),
        (json!({"name": "x"}), 400, "a patch is a list"),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
        assert!(answer.fault().contains(sentence), "{body}: {}", answer.fault());
    }
    // A patch applies as a whole or not at all.
    let before = controller.get(&format!("/v1/nodes/{uuid}")).await.body;
    let half =
        json!([{"op": "add", "path": "/extra/k", "value": 1}, {"op": "remove", "path": "/extra/none"}]);
    assert_eq!(patch(half).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(controller.get(&format!("/v1/nodes/{uuid}")).await.body, before);
}

#[tokio::test]
async fn what_may_change_depends_on_the_state() {
    let controller = Controller::start().await;
    // Else it would find that nothing was begun in the state that is set by hand.
    controller.state.engine.stop().await;
    controller.node("moving", ProvisionState::WaitCallBack).await;
    controller.node("active", ProvisionState::Active).await;
    controller.node("other", ProvisionState::Active).await;
    for (node, body, sentence) in [
        (
            "moving",
            json!([{"op": "add", "path": "/extra/k", "value": 1}]),
            "while a state transition is in progress",
        ),
        ("active", json!([{"op": "add", "path": "/resource_class", "value": "x"}]), "in one of allowed"),
        (
            "active",
            json!([{"op": "add", "path": "/name", "value": "other"}]),
            "A node with name other already exists.",
        ),
    ] {
        let answer = controller.send(Method::PATCH, &format!("/v1/nodes/{node}"), body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
        assert!(answer.fault().contains(sentence), "{}", answer.fault());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_moving_node_is_refused_without_waiting_for_who_works_on_it() {
    let controller = Controller::start().await;
    controller.state.engine.stop().await;
    let uuid = controller.node("moving", ProvisionState::Deploying).await.uuid;
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let engine = controller.state.engine.clone();
    let working = tokio::spawn(async move {
        let work = move |_: &mut Node| {
            begin.send(()).unwrap();
            // Other tasks of this worker go on elsewhere.
            tokio::task::block_in_place(|| ended.recv().unwrap_err());
            Ok(())
        };
        engine.edit(uuid, work).await.unwrap();
    });
    begun.await.unwrap();
    let patch = json!([{"op": "add", "path": "/extra/k", "value": 1}]);
    let answer = controller.send(Method::PATCH, "/v1/nodes/moving", patch).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.fault().contains("while a state transition is in progress"), "{}", answer.fault());
    drop(end);
    working.await.unwrap();
}

#[tokio::test]
async fn secrets_are_masked_and_a_mask_written_back_keeps_them() {
    let controller = Controller::start().await;
    let uuid = controller.node("n", ProvisionState::Enroll).await.uuid;
    let patch = json!([{"op": "add", "path": "/instance_info",
        "value": {"configdrive": "H4sI", "image_request_authorization_secret": "Bearer k3y",
            "image_url": "http://h/i?temp_url_sig=cafe", "image_source": "http://h/i"}}]);
    controller.send(Method::PATCH, "/v1/nodes/n", patch).await;
    for path in ["/v1/nodes/n", "/v1/nodes/detail", "/v1/nodes?fields=driver_info,instance_info"] {
        let text = controller.get(path).await.body.to_string();
        for secret in ["hunter2", "H4sI", "k3y", "cafe"] {
            assert!(!text.contains(secret), "{path}: {text}");
        }
        assert!(text.contains("******") && text.contains("http://h/i"), "{path}");
    }
    // What a client does that reads, changes one key and writes all back.
    let mut info = controller.get("/v1/nodes/n").await.body["driver_info"].clone();
    info["redfish_username"] = "root".into();
    let patch = json!([{"op": "replace", "path": "/driver_info", "value": info}]);
    let answer = controller.send(Method::PATCH, "/v1/nodes/n", patch).await;
    assert_eq!(answer.body["driver_info"]["redfish_password"], "******");
    let stored = controller.state.store.node(&uuid.to_string()).await.unwrap().driver_info;
    assert_eq!(
        (&stored["redfish_password"], &stored["redfish_username"]),
        (&json!("hunter2"), &json!("root"))
    );
    let patch = json!([{"op": "add", "path": "/driver_info/redfish_password", "value": "******"}]);
    controller.send(Method::PATCH, "/v1/nodes/n", patch).await;
    let stored = controller.state.store.node("n").await.unwrap().driver_info;
    assert_eq!(stored["redfish_password"], "hunter2");
}

#[tokio::test]
async fn deletes_as_recorded() {
    let controller = Controller::start().await;
    let active = controller.node("active", ProvisionState::Active).await.uuid;
    controller.node("idle", ProvisionState::Available).await;
    let answer = controller.send(Method::DELETE, "/v1/nodes/active", Value::Null).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(
        answer.fault().starts_with(&format!(
            "Can not delete node \"{active}\" while it is in provision state \"active\". Valid provision states to \
             perform deletion are: \"("
        )),
        "{}",
        answer.fault()
    );
    let answer = controller.send(Method::DELETE, "/v1/nodes/idle", Value::Null).await;
    assert_eq!((answer.status, answer.body), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(controller.get("/v1/nodes/idle").await.status, StatusCode::NOT_FOUND);
    let patch = json!([{"op": "add", "path": "/protected", "value": true}]);
    controller.send(Method::PATCH, "/v1/nodes/active", patch).await;
    let answer = controller.send(Method::DELETE, "/v1/nodes/active", Value::Null).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
