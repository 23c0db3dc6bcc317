//! Who may do what, through the router.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Controller};
use crate::{
    api::access::{Gate, Identity, SystemRole},
    node::{Node, ProvisionState},
};

/// A user of a project with these roles, as Keystone says them.
fn user(project: &str, roles: &[&str]) -> Identity {
    Identity {
        user: Some("ann".into()),
        project_id: Some(project.into()),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Identity::default()
    }
}

const READER: &[&str] = &["reader"];
const MEMBER: &[&str] = &["member", "reader"];
const ADMIN: &[&str] = &["admin", "manager", "member", "reader"];

impl Controller {
    async fn send_as(&self, who: &Identity, method: Method, path: &str, body: Value) -> Answer {
        let mut state = self.state.clone();
        state.gate = Gate::fixed(who.clone());
        let request = Self::request("1.115", method, path, &body);
        Self::answer_of(crate::api::router(state), request).await
    }

    async fn get_as(&self, who: &Identity, path: &str) -> Answer {
        self.send_as(who, Method::GET, path, Value::Null).await
    }

    /// A node of a project, lent to another, that has something to hide.
    async fn owned(&self, name: &str, owner: &str, lessee: &str) -> Node {
        let mut node = self.node(name, ProvisionState::Available).await;
        node.owner = Some(owner.to_owned());
        node.lessee = Some(lessee.to_owned());
        node.last_error = Some("no route to bmc-7.internal".to_owned());
        self.state.store.update_node(&mut node, None).await.unwrap();
        node
    }
}

#[tokio::test]
async fn a_node_of_another_project_is_not_there() {
    let controller = Controller::start().await;
    let node = controller.owned("secret-node", "blue", "green").await;
    let stranger = user("red", ADMIN);
    for path in ["", "/states", "/validate", "/history", "/ports", "/logs"] {
        for ident in ["secret-node".to_owned(), node.uuid.to_string()] {
            let answer = controller.get_as(&stranger, &format!("/v1/nodes/{ident}{path}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
            // What is hidden and what is not there cannot be told apart.
            assert_eq!(answer.fault(), format!("Node {ident} could not be found."));
        }
    }
    let patch = json!([{"op": "replace", "path": "/extra/a", "value": 1}]);
    let answer = controller.send_as(&stranger, Method::PATCH, "/v1/nodes/secret-node", patch).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = controller.send_as(&stranger, Method::DELETE, "/v1/nodes/secret-node", Value::Null).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let port = json!({"address": "52:54:00:00:00:01", "node_uuid": node.uuid});
    let answer = controller.send_as(&stranger, Method::POST, "/v1/ports", port).await;
    assert_eq!(
        (answer.status, answer.fault().contains("could not be found")),
        (StatusCode::BAD_REQUEST, true)
    );
    // A system user without the right is told so.
    let helpdesk = Identity { system: true, roles: vec!["observer".into()], ..Identity::default() };
    let answer = controller.get_as(&helpdesk, "/v1/nodes/secret-node").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn listings_show_what_a_project_owns_or_rents() {
    let controller = Controller::start().await;
    let blue = controller.owned("blue-node", "blue", "green").await;
    let red = controller.owned("red-node", "red", "yellow").await;
    for (node, mac) in [(&blue, "52:54:00:00:00:01"), (&red, "52:54:00:00:00:02")] {
        let port = json!({"address": mac, "node_uuid": node.uuid});
        assert_eq!(controller.send(Method::POST, "/v1/ports", port).await.status, StatusCode::CREATED);
    }
    let names = |answer: &Answer| -> Vec<String> {
        let rows = answer.body["nodes"].as_array().unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for (project, wanted) in [("blue", vec!["blue-node"]), ("green", vec!["blue-node"]), ("other", vec![])] {
        for path in ["/v1/nodes", "/v1/nodes/detail", "/v1/nodes?limit=1", "/v1/nodes?owner=blue"] {
            let answer = controller.get_as(&user(project, READER), path).await;
            assert_eq!(names(&answer), wanted, "{project} {path}");
        }
        for path in ["/v1/ports", "/v1/ports/detail"] {
            let ports = controller.get_as(&user(project, READER), path).await;
            assert_eq!(ports.body["ports"].as_array().unwrap().len(), wanted.len(), "{project} {path}");
        }
    }
    let stranger = user("other", READER);
    for path in ["/v1/nodes?parent_node=blue-node", "/v1/ports?node=blue-node"] {
        let hidden = controller.get_as(&stranger, path).await;
        let missing = controller.get_as(&stranger, &path.replace("blue-node", "no-node")).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND, "{path}: {hidden:?}");
        assert_eq!(hidden.fault().replace("blue-node", "no-node"), missing.fault());
    }
    let marker = controller.get_as(&stranger, &format!("/v1/nodes?marker={}", blue.uuid)).await;
    assert_eq!(marker.status, StatusCode::NOT_FOUND);
    // Somebody without a role sees no listing at all.
    let answer = controller.get_as(&user("blue", &["swiftoperator"]), "/v1/nodes").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_lessee_does_not_see_what_tells_of_the_hardware() {
    let controller = Controller::start().await;
    controller.owned("node", "blue", "green").await;
    let seen = |answer: Answer| answer.body["last_error"].as_str().map(str::to_owned);
    let owner = controller.get_as(&user("blue", READER), "/v1/nodes/node").await;
    assert_eq!(owner.body["driver_info"]["redfish_username"], "admin");
    assert_eq!(owner.body["driver_info"]["redfish_password"], "******");
    assert_eq!(seen(owner).as_deref(), Some("no route to bmc-7.internal"));
    let lessee = controller.get_as(&user("green", ADMIN), "/v1/nodes/node").await;
    let wanted = "** Redacted - requires baremetal:node:get:driver_info permission. **";
    assert_eq!(lessee.body["driver_info"], json!({"content": wanted}));
    let wanted = "** Value Redacted - Requires baremetal:node:get:last_error permission. **";
    assert_eq!(seen(lessee).as_deref(), Some(wanted));
    for path in ["/v1/nodes/detail", "/v1/nodes/node?fields=last_error,driver_info", "/v1/nodes/node/states"]
    {
        let answer = controller.get_as(&user("green", ADMIN), path).await;
        assert_eq!(answer.status, StatusCode::OK);
        let text = answer.body.to_string();
        assert!(!text.contains("bmc-7") && !text.contains("127.0.0.1:1\""), "{path}: {text}");
    }
    let history = controller.get_as(&user("green", ADMIN), "/v1/nodes/node/history").await;
    assert_eq!(history.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn each_field_of_a_patch_is_under_its_own_rule() {
    let controller = Controller::start().await;
    controller.owned("node", "blue", "green").await;
    let cases: &[(&[&str], &str, Value, &str)] = &[
        (MEMBER, "green", json!({"path": "/extra/a", "value": 1}), ""),
        (
            MEMBER,
            "green",
            json!({"path": "/instance_info/a", "value": 1}),
            "baremetal:node:update_instance_info",
        ),
        (ADMIN, "green", json!({"path": "/instance_info/a", "value": 1}), ""),
        (ADMIN, "green", json!({"path": "/driver_info/a", "value": 1}), "baremetal:node:update:driver_info"),
        (MEMBER, "blue", json!({"path": "/driver_info/a", "value": 1}), ""),
        (MEMBER, "blue", json!({"path": "/lessee", "value": "red"}), ""),
        (ADMIN, "blue", json!({"path": "/owner", "value": "red"}), "baremetal:node:update:owner"),
        (
            ADMIN,
            "blue",
            json!({"path": "/parent_node", "value": "node"}),
            "baremetal:node:update:parent_node",
        ),
        (
            MEMBER,
            "blue",
            json!({"path": "/power_interface", "value": "fake"}),
            "baremetal:node:update:driver_interfaces",
        ),
        (
            ADMIN,
            "blue",
            json!({"path": "/automated_clean", "value": "off"}),
            "baremetal:node:disable_cleaning",
        ),
        (READER, "blue", json!({"path": "/extra/a", "value": 1}), "baremetal:node:update_extra"),
    ];
    for (roles, project, operation, refused) in cases {
        let mut operation = operation.clone();
        operation["op"] = "add".into();
        // One allowed operation does not carry a refused one.
        let patch = json!([{"op": "add", "path": "/extra/b", "value": 1}, operation]);
        let answer = controller.send_as(&user(project, roles), Method::PATCH, "/v1/nodes/node", patch).await;
        if refused.is_empty() {
            assert_eq!(answer.status, StatusCode::OK, "{operation}: {answer:?}");
            // A lessee who may write still may not read.
        } else {
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{operation}: {answer:?}");
            assert_eq!(answer.fault(), format!("Access was denied to the following resource: {refused}"));
        }
        // What was lent to another is not green's any more.
        let mut node = controller.state.store.node("node").await.unwrap();
        node.lessee = Some("green".into());
        controller.state.store.update_node(&mut node, None).await.unwrap();
    }
    let node = controller.state.store.node("node").await.unwrap();
    assert_eq!(node.owner.as_deref(), Some("blue"));
}

#[tokio::test]
async fn a_project_admin_enrols_nodes_of_the_own_project_only() {
    let controller = Controller::start().await;
    let admin = user("blue", ADMIN);
    let post = |who: Identity, body: Value| {
        let controller = &controller;
        async move { controller.send_as(&who, Method::POST, "/v1/nodes", body).await }
    };
    let answer = post(admin.clone(), json!({"driver": "redfish", "name": "mine"})).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.body["owner"], "blue");
    let answer = post(admin.clone(), json!({"driver": "redfish", "owner": "red"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = post(user("blue", MEMBER), json!({"driver": "redfish"})).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let member =
        controller.send_as(&user("blue", MEMBER), Method::DELETE, "/v1/nodes/mine", Value::Null).await;
    assert_eq!(member.status, StatusCode::FORBIDDEN);
    let owner = controller.send_as(&admin, Method::DELETE, "/v1/nodes/mine", Value::Null).await;
    assert_eq!(owner.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn system_roles_follow_their_rules() {
    let controller = Controller::start().await;
    controller.owned("node", "blue", "green").await;
    let reader = Identity::system(Some("watch"), SystemRole::Reader);
    assert_eq!(controller.get_as(&reader, "/v1/nodes/node").await.body["lessee"], "green");
    assert_eq!(controller.get_as(&reader, "/v1/drivers").await.status, StatusCode::OK);
    let power = json!({"target": "power on"});
    let answer = controller.send_as(&reader, Method::PUT, "/v1/nodes/node/states/power", power).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let member = Identity::system(Some("desk"), SystemRole::Member);
    let answer = controller.send_as(&member, Method::PUT, "/v1/nodes/node/maintenance", json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let answer = controller.send_as(&member, Method::POST, "/v1/nodes", json!({"driver": "redfish"})).await;
    assert_eq!(answer.fault(), "Access was denied to the following resource: baremetal:node:create");
    // A project's user learns nothing of the cloud's machinery.
    assert_eq!(controller.get_as(&user("blue", ADMIN), "/v1/drivers").await.status, StatusCode::FORBIDDEN);
    assert_eq!(controller.get_as(&user("blue", ADMIN), "/v1/conductors").await.status, StatusCode::FORBIDDEN);
    // Nor does somebody with roles but neither a project nor the system.
    let lost = Identity { roles: vec!["admin".into(), "reader".into()], ..Identity::default() };
    assert_eq!(controller.get_as(&lost, "/v1/nodes").await.status, StatusCode::FORBIDDEN);
}

/// What a project has: a node with all that can hang on one, and an allocation.
async fn furnish(controller: &Controller, project: &str, number: u8) -> (Node, Vec<String>) {
    let node = controller.owned(&format!("{project}-node"), project, "nobody").await;
    let uuid = node.uuid;
    let mut paths = Vec::new();
    for (path, body) in [
        ("ports", json!({"address": format!("52:54:00:00:00:{number:02x}"), "node_uuid": uuid})),
        ("portgroups", json!({"name": format!("{project}-group"), "node_uuid": uuid})),
        (
            "volume/connectors",
            json!({"type": "iqn", "connector_id": format!("iqn.{project}"), "node_uuid": uuid}),
        ),
        (
            "volume/targets",
            json!({"volume_type": "iscsi", "volume_id": format!("v{number}"), "boot_index": 0, "node_uuid": uuid}),
        ),
        (
            "allocations",
            json!({"name": format!("{project}-allocation"), "resource_class": "x", "owner": project}),
        ),
    ] {
        let answer = controller.send(Method::POST, &format!("/v1/{path}"), body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
        paths.push(format!("/v1/{path}/{}", answer.body["uuid"].as_str().unwrap()));
    }
    let trait_of = format!("/v1/nodes/{uuid}/traits/CUSTOM_{}", project.to_uppercase());
    assert_eq!(controller.send(Method::PUT, &trait_of, Value::Null).await.status, StatusCode::NO_CONTENT);
    (node, paths)
}

#[tokio::test]
async fn every_listing_of_a_project_shows_its_own_and_nothing_else() {
    let controller = Controller::start().await;
    let (_, blue) = furnish(&controller, "blue", 1).await;
    let (red_node, red) = furnish(&controller, "red", 2).await;
    let who = user("blue", ADMIN);
    for (mine, theirs) in blue.iter().zip(&red) {
        let (list, own) = mine.rsplit_once('/').unwrap();
        let answer = controller.get_as(&who, list).await;
        let rows = answer.body.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        let uuids: Vec<_> = rows.iter().map(|row| row["uuid"].as_str().unwrap()).collect();
        assert_eq!(uuids, [own], "{list}: {answer:?}");
        assert_eq!(controller.get_as(&who, mine).await.status, StatusCode::OK, "{mine}");
        for method in [Method::GET, Method::DELETE] {
            let answer = controller.send_as(&who, method, theirs, Value::Null).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{theirs}: {answer:?}");
        }
        let everything = controller.get(list).await;
        let rows = everything.body.as_object().unwrap().values().find_map(Value::as_array).unwrap();
        assert_eq!(rows.len(), 2, "{list}: the administrator sees both");
    }
    for part in crate::api::access::ROUTES.iter().filter_map(|route| {
        let part = route.path.strip_prefix("/v1/nodes/{node}")?;
        // What is public asks for something else: consoles for a ticket.
        (route.method == "GET" && !route.action.is_empty()).then_some(part)
    }) {
        let part = part.replace(['{', '}'], "");
        let answer = controller.get_as(&who, &format!("/v1/nodes/{}{part}", red_node.uuid)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{part}: {answer:?}");
        assert_eq!(answer.fault(), format!("Node {} could not be found.", red_node.uuid), "{part}");
    }
}

#[tokio::test]
async fn listings_can_be_of_one_project_and_of_another_only_for_who_sees_all() {
    let controller = Controller::start().await;
    controller.owned("blue-node", "blue", "green").await;
    controller.owned("red-node", "red", "blue").await;
    controller.owned("other-node", "yellow", "yellow").await;
    let names = |answer: Answer| -> Vec<String> {
        let rows = answer.body["nodes"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    for (query, wanted) in [
        ("project=blue", vec!["blue-node", "red-node"]),
        ("owner=blue", vec!["blue-node"]),
        ("lessee=blue", vec!["red-node"]),
        ("owner=blue&lessee=green", vec!["blue-node"]),
        ("project=nobody", vec![]),
    ] {
        for path in ["/v1/nodes", "/v1/nodes/detail"] {
            assert_eq!(names(controller.get(&format!("{path}?{query}")).await), wanted, "{query}");
        }
    }
    let blue = user("blue", READER);
    for query in ["", "?project=blue"] {
        let answer = controller.get_as(&blue, &format!("/v1/nodes{query}")).await;
        assert_eq!(names(answer), ["blue-node", "red-node"], "{query}");
    }
    for path in ["/v1/nodes?project=red", "/v1/allocations?owner=red"] {
        let answer = controller.get_as(&blue, path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn the_history_names_who_asked() {
    let controller = Controller::start().await;
    controller.owned("n", "blue", "green").await;
    let ann = Identity { user_id: Some("id-ann".into()), ..user("blue", ADMIN) };
    let answer =
        controller.send_as(&ann, Method::PUT, "/v1/nodes/n/maintenance", json!({"reason": "disk"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let desk = Identity::system(Some("desk"), SystemRole::Admin);
    let answer = controller.send_as(&desk, Method::DELETE, "/v1/nodes/n/maintenance", Value::Null).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let target = json!({"target": "manage"});
    let answer = controller.send_as(&ann, Method::PUT, "/v1/nodes/n/states/provision", target).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    let history = controller.get("/v1/nodes/n/history?detail=true").await.body;
    let found: Vec<_> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["event"].as_str().unwrap(), event["user"].clone(), event["project"].clone()))
        .collect();
    let wanted = [
        ("Maintenance set: disk", json!("id-ann"), json!("blue")),
        ("Maintenance unset", json!("desk"), Value::Null),
        ("Provision state changed from \"available\" to \"manageable\"", json!("id-ann"), json!("blue")),
    ];
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_projects_runbook_is_its_own_and_not_public() {
    let controller = Controller::start().await;
    let manager = user("blue", &["manager", "member", "reader"]);
    let steps = json!([{"interface": "power", "step": "power_on", "args": {}, "order": 1}]);
    let post = async |who: &Identity, extra: Value| {
        let mut body = json!({"name": "CUSTOM_A", "steps": steps});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        controller.send_as(who, Method::POST, "/v1/runbooks", body).await
    };
    let answer = post(&manager, json!({"owner": "red"})).await;
    let sentence =
        "Cannot create a runbook as a project scoped admin with an owner other than your own project.";
    assert_eq!((answer.status, answer.fault().as_str()), (StatusCode::BAD_REQUEST, sentence));
    for public in [json!(true), json!("yes")] {
        let answer = post(&manager, json!({"public": public})).await;
        let sentence = "Cannot create a public runbook as a project scoped admin.";
        assert_eq!((answer.status, answer.fault().as_str()), (StatusCode::BAD_REQUEST, sentence));
    }
    assert_eq!(post(&user("blue", MEMBER), json!({})).await.status, StatusCode::FORBIDDEN);
    let answer = post(&manager, json!({"owner": "blue"})).await;
    assert_eq!((answer.status, &answer.body["owner"]), (StatusCode::CREATED, &json!("blue")), "{answer:?}");
    let system = Identity::system(None, SystemRole::Member);
    let answer = post(&system, json!({"owner": "red", "name": "CUSTOM_B"})).await;
    assert_eq!(answer.body["owner"], "red", "{answer:?}");
}

#[tokio::test]
async fn cleaning_is_not_turned_off_by_saying_nothing() {
    let controller = Controller::start().await;
    let mut node = controller.owned("node", "blue", "green").await;
    let patch = async |operation: Value| {
        let patch = json!([operation]);
        controller.send_as(&user("blue", ADMIN), Method::PATCH, "/v1/nodes/node", patch).await
    };
    let path = "/automated_clean";
    // The default of the configuration is not to clean: nothing is taken away.
    assert_eq!(patch(json!({"op": "add", "path": path, "value": null})).await.status, StatusCode::OK);
    node = controller.state.store.node(&node.uuid.to_string()).await.unwrap();
    node.automated_clean = Some(true);
    controller.state.store.update_node(&mut node, None).await.unwrap();
    for operation in [
        json!({"op": "replace", "path": path, "value": null}),
        json!({"op": "remove", "path": path}),
        json!({"op": "remove", "path": path, "value": true}),
        json!({"op": "replace", "path": path, "value": false}),
        json!({"op": "replace", "path": path, "value": "off"}),
    ] {
        let answer = patch(operation.clone()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{operation}");
        assert!(answer.fault().ends_with("baremetal:node:disable_cleaning"), "{operation}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_and_several_hosts_are_bad_requests() {
    let controller = Controller::start().await;
    let admin = Identity::system(None, SystemRole::Admin);
    for who in [&admin, &user("blue", ADMIN)] {
        let answer = controller.get_as(who, "/v1/nodes/%ff").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.fault(), "The path of the request is not UTF-8.");
    }
    let mut request = Controller::request("1.115", Method::GET, "/v1/nodes", &Value::Null);
    request.headers_mut().append("host", "evil.example".parse().unwrap());
    let answer = Controller::answer_of(crate::api::router(controller.state.clone()), request).await;
    assert_eq!(
        (answer.status, answer.fault().as_str()),
        (StatusCode::BAD_REQUEST, "The request has several Host headers.")
    );
}
