//! Allocations, as recorded; and many at once.

use std::{collections::BTreeSet, time::Duration};

use super::*;

impl Controller {
    async fn free_node(&self, name: &str, change: impl FnOnce(&mut Node)) -> Node {
        self.node(name, ProvisionState::Available).await;
        let mut node = self.state.store.node(name).await.unwrap();
        node.power_state = Some(crate::node::PowerState::Off);
        change(&mut node);
        self.state.store.update_node(&mut node, None).await.unwrap();
        node
    }

    async fn allocate(&self, body: Value) -> Answer {
        self.send(Method::POST, "/v1/allocations", body).await
    }

    async fn settled(&self, ident: &str) -> Value {
        let settled = async {
            loop {
                let found = self.get(&format!("/v1/allocations/{ident}")).await;
                assert_eq!(found.status, StatusCode::OK, "{found:?}");
                if found.body["state"] != "allocating" {
                    return found.body;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap()
    }
}

fn ident(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["uuid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_allocation_takes_its_node_and_gives_it_back_as_recorded() {
    let controller = Controller::start().await;
    let body = json!({"resource_class": "baremetal", "traits": ["CUSTOM_GOLD"], "name": "alloc-0"});
    let made = controller.allocate(body.clone()).await;
    let uuid = ident(&made);
    assert_eq!(made.header("Location"), format!("http://127.0.0.1:6384/v1/allocations/{uuid}"));
    let keys: Vec<_> = made.body.as_object().unwrap().keys().map(String::as_str).collect();
    let mut recorded: Vec<_> = fields::known(fields::ALLOCATION, Version(115));
    recorded.sort_unstable();
    assert_eq!((keys, &made.body["state"]), (recorded, &json!("allocating")));
    let failed = controller.settled("alloc-0").await;
    assert_eq!(
        failed["last_error"],
        format!(
            "Failed to process allocation {uuid}: no available nodes match the resource class baremetal."
        )
    );
    assert_eq!((&failed["state"], &failed["node_uuid"]), (&json!("error"), &Value::Null));
    assert_eq!(
        controller.allocate(body.clone()).await.fault(),
        "An allocation with name alloc-0 already exists."
    );
    let gone = controller.send(Method::DELETE, "/v1/allocations/alloc-0", Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);

    let node = controller.free_node("n", |node| node.traits = vec!["CUSTOM_GOLD".into()]).await;
    let uuid = ident(&controller.allocate(body).await);
    let active = controller.settled(&uuid).await;
    assert_eq!((&active["state"], &active["node_uuid"]), (&json!("active"), &json!(node.uuid)));
    let shown = controller.get("/v1/nodes/n").await.body;
    assert_eq!((&shown["instance_uuid"], &shown["allocation_uuid"]), (&json!(uuid), &json!(uuid)));
    assert_eq!(controller.get("/v1/nodes/n/allocation").await.body, active);
    let patch = json!([{"op": "add", "path": "/extra/k", "value": 1}, {"op": "replace", "path": "/name", "value": "b"}]);
    let patched = controller.send(Method::PATCH, "/v1/allocations/alloc-0", patch).await.body;
    assert_eq!((&patched["name"], &patched["extra"]), (&json!("b"), &json!({"k": 1})));
    let released = controller.send(Method::DELETE, "/v1/nodes/n/allocation", Value::Null).await;
    assert_eq!(released.status, StatusCode::NO_CONTENT);
    let shown = controller.get("/v1/nodes/n").await.body;
    assert_eq!((&shown["instance_uuid"], &shown["allocation_uuid"]), (&Value::Null, &Value::Null));
    let none = controller.get("/v1/nodes/n/allocation").await;
    assert_eq!(
        (none.status, none.fault()),
        (StatusCode::NOT_FOUND, "Allocation for node n was not found".into())
    );
}

#[tokio::test]
async fn many_at_once_never_share_a_node() {
    let controller = Controller::start().await;
    for at in 0..12 {
        controller.free_node(&format!("n{at}"), |_| {}).await;
    }
    let ask =
        |at: usize| controller.allocate(json!({"resource_class": "baremetal", "name": format!("a{at}")}));
    futures_util::future::join_all((0..20).map(ask)).await.iter().for_each(|answer| {
        ident(answer);
    });
    let (mut taken, mut failed) = (BTreeSet::new(), 0);
    for at in 0..20 {
        let settled = controller.settled(&format!("a{at}")).await;
        match settled["node_uuid"].as_str() {
            Some(node) => assert!(taken.insert(node.to_owned()), "{node} was given twice"),
            None => failed += 1,
        }
    }
    assert_eq!((taken.len(), failed), (12, 8));
}

#[tokio::test]
async fn the_node_of_the_same_name_comes_first_and_candidates_narrow() {
    let controller = Controller::start().await;
    for at in 0..6 {
        controller.free_node(&format!("n{at}"), |_| {}).await;
    }
    controller.allocate(json!({"resource_class": "baremetal", "name": "n4"})).await;
    controller.settled("n4").await;
    assert_eq!(controller.get("/v1/nodes/n4/allocation").await.body["name"], "n4");
    let body = json!({"resource_class": "baremetal", "name": "x", "candidate_nodes": ["n2"]});
    let made = controller.allocate(body).await;
    assert_eq!(made.body["candidate_nodes"].as_array().unwrap().len(), 1);
    controller.settled("x").await;
    assert_eq!(controller.get("/v1/nodes/n2/allocation").await.body["name"], "x");
    let body = json!({"resource_class": "baremetal", "name": "y", "candidate_nodes": ["n2"]});
    controller.allocate(body).await;
    let error = controller.settled("y").await["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("none of the requested nodes are available"), "{error}");
    let by_node = controller.get("/v1/allocations?node=n2").await.body;
    assert_eq!(by_node["allocations"].as_array().unwrap().len(), 1);
    let by_state = controller.get("/v1/allocations?state=error&fields=name").await.body;
    assert_eq!(by_state["allocations"][0]["name"], "y");
    let page = controller.get("/v1/allocations?limit=2&sort_key=name&sort_dir=desc").await.body;
    assert_eq!(page["allocations"][0]["name"], "y");
    assert!(page["next"].as_str().unwrap().contains("limit=2"));
}

#[tokio::test]
async fn a_node_in_use_keeps_its_allocation_and_an_active_one_can_get_one_afterwards() {
    let controller = Controller::start().await;
    controller.free_node("n", |node| node.provision_state = ProvisionState::Active).await;
    let made = controller.allocate(json!({"node": "n"})).await;
    let uuid = ident(&made);
    assert_eq!((&made.body["state"], &made.body["resource_class"]), (&json!("active"), &json!("baremetal")));
    let refused = controller.send(Method::DELETE, &format!("/v1/allocations/{uuid}"), Value::Null).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().contains("because the node is active"), "{}", refused.fault());
    controller.send(Method::PUT, "/v1/nodes/n/maintenance", json!({})).await;
    let released = controller.send(Method::DELETE, &format!("/v1/allocations/{uuid}"), Value::Null).await;
    assert_eq!(released.status, StatusCode::NO_CONTENT);
    controller.free_node("free", |_| {}).await;
    let refused = controller.allocate(json!({"node": "free", "name": "f"})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.fault().contains("must be in the \"active\" state"), "{}", refused.fault());
    assert_eq!(controller.settled("f").await["state"], "error");
}

#[tokio::test]
async fn versions_and_wrong_bodies_are_refused() {
    let controller = Controller::start().await;
    controller.free_node("n", |_| {}).await;
    for (version, method, body, status) in [
        ("1.51", Method::GET, Value::Null, 404),
        ("1.52", Method::GET, Value::Null, 200),
        ("1.57", Method::POST, json!({"resource_class": "c", "node": "n"}), 400),
        ("1.59", Method::POST, json!({"resource_class": "c", "owner": "p"}), 406),
        ("1.115", Method::POST, json!({}), 400),
        ("1.115", Method::POST, json!({"resource_class": "c", "nope": 1}), 400),
        ("1.115", Method::POST, json!({"resource_class": "c", "traits": ["lower"]}), 400),
        ("1.115", Method::POST, json!({"resource_class": "c", "candidate_nodes": ["ghost"]}), 400),
        ("1.115", Method::POST, json!({"resource_class": "c", "node": "ghost"}), 400),
        ("1.115", Method::POST, json!({"resource_class": "c", "name": "a b"}), 400),
        ("1.115", Method::POST, json!({"resource_class": "x".repeat(81)}), 400),
    ] {
        let answer = controller.send_at(version, method, "/v1/allocations", body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{version} {body}: {answer:?}");
    }
    controller.allocate(json!({"resource_class": "c", "name": "a"})).await;
    let patch = json!([{"op": "replace", "path": "/name", "value": "b"}]);
    let old = controller.send_at("1.56", Method::PATCH, "/v1/allocations/a", patch).await;
    assert_eq!(old.status, StatusCode::METHOD_NOT_ALLOWED);
    let patch = json!([{"op": "replace", "path": "/traits", "value": []}]);
    let other = controller.send(Method::PATCH, "/v1/allocations/a", patch).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
    assert!(controller.get("/v1/allocations/a").await.body.get("owner").is_some());
    let older = controller.send_at("1.59", Method::GET, "/v1/allocations/a", Value::Null).await;
    assert!(older.body.get("owner").is_none());
}
