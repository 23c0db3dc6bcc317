//! Filters, order and pages.

use super::*;

on_both![each_filter_chooses, pages_follow_each_other_in_any_order, texts_of_any_kind_are_found_again];

async fn names(store: &Store, filter: NodeFilter) -> Vec<String> {
    store.nodes(&filter).await.unwrap().into_iter().filter_map(|node| node.name).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A node that differs from another one in all that can be asked for.
fn two_nodes() -> (Node, Node) {
    let (mut first, mut second) = (node("n1"), node("n2"));
    second.instance_uuid = text("i");
    second.instance_name = text("in");
    second.maintenance = true;
    second.retired = true;
    second.fault = text("power failure");
    second.conductor_group = "cg".into();
    second.chassis_uuid = text("c");
    second.owner = text("p1");
    second.lessee = text("p2");
    second.shard = text("s2");
    second.resource_class = text("big");
    second.driver = "ipmi".into();
    second.parent_node = Some(first.uuid.to_string());
    second.description = text("ÄRGER 100%_\\ here");
    second.power_state = Some(crate::node::PowerState::On);
    first.description = text("quiet");
    (first, second)
}

async fn each_filter_chooses(store: Store) {
    let (first, mut second) = two_nodes();
    store.create_node(&first).await.unwrap();
    store.create_node(&second).await.unwrap();
    let all = NodeFilter::default;
    let filters = [
        NodeFilter { driver: text("ipmi"), ..all() },
        NodeFilter { resource_class: text("big"), ..all() },
        NodeFilter { instance_uuid: text("i"), ..all() },
        NodeFilter { instance_name: text("in"), ..all() },
        NodeFilter { associated: Some(true), ..all() },
        NodeFilter { maintenance: Some(true), ..all() },
        NodeFilter { retired: Some(true), ..all() },
        NodeFilter { fault: text("power failure"), ..all() },
        NodeFilter { conductor_group: text("cg"), ..all() },
        NodeFilter { chassis_uuid: text("c"), ..all() },
        NodeFilter { owner: text("p1"), ..all() },
        NodeFilter { lessee: text("p2"), ..all() },
        NodeFilter { project: text("p1"), ..all() },
        NodeFilter { project: text("p2"), ..all() },
        NodeFilter { shards: vec!["s1".into(), "s2".into()], ..all() },
        NodeFilter { sharded: Some(true), ..all() },
        NodeFilter { parent_node: Some(first.uuid.to_string()), ..all() },
        NodeFilter { description_contains: text("ärger 100%_\\"), ..all() },
        NodeFilter { uuids: vec![second.uuid, NodeId::random()], ..all() },
    ];
    for filter in filters {
        assert_eq!(names(&store, filter.clone()).await, ["n2"], "{filter:?}");
    }
    let others = [
        NodeFilter { associated: Some(false), ..all() },
        NodeFilter { maintenance: Some(false), ..all() },
        NodeFilter { retired: Some(false), ..all() },
        NodeFilter { sharded: Some(false), ..all() },
        NodeFilter { parents_only: true, ..all() },
        NodeFilter { conductor_group: text(""), ..all() },
        NodeFilter { description_contains: text("QUI"), ..all() },
    ];
    for filter in others {
        assert_eq!(names(&store, filter.clone()).await, ["n1"], "{filter:?}");
    }
    let nobody = [
        NodeFilter { project: text("p3"), ..all() },
        NodeFilter { description_contains: text("1_0"), ..all() },
        NodeFilter { maintenance: Some(true), retired: Some(false), ..all() },
    ];
    for filter in nobody {
        assert_eq!(names(&store, filter.clone()).await, [""; 0], "{filter:?}");
    }
    // A filter follows the node.
    second.maintenance = false;
    second.owner = None;
    store.update_node(&mut second, None).await.unwrap();
    assert_eq!(names(&store, NodeFilter { maintenance: Some(true), ..all() }).await, [""; 0]);
    assert_eq!(names(&store, NodeFilter { owner: text("p1"), ..all() }).await, [""; 0]);
}

async fn pages_follow_each_other_in_any_order(store: Store) {
    let classes = [None, Some("b"), Some("B"), Some("a"), None, Some("ä"), Some("a"), Some("_")];
    let mut made = Vec::new();
    for (index, class) in classes.iter().enumerate() {
        let mut new = node(&format!("n{index}"));
        new.resource_class = class.map(str::to_owned);
        new.last_error = class.map(str::to_owned);
        new.interfaces.insert("deploy".into(), class.unwrap_or("direct").to_owned());
        new.protected = index % 3 == 0;
        store.create_node(&new).await.unwrap();
        made.push(new);
    }
    let keys = [
        None,
        Some("uuid"),
        Some("name"),
        Some("resource_class"),
        Some("last_error"),
        Some("deploy_interface"),
        Some("protected"),
        Some("created_at"),
        Some("updated_at"),
        Some("maintenance_reason"),
    ];
    for (sort_key, descending) in keys.into_iter().flat_map(|key| [(key, false), (key, true)]) {
        let mut expected: Vec<_> = made.iter().enumerate().collect();
        expected.sort_by_cached_key(|(index, node)| (key_of(node, sort_key), *index));
        if descending {
            expected.reverse();
        }
        let expected: Vec<_> = expected.into_iter().map(|(_, node)| node.uuid).collect();
        let mut seen = Vec::new();
        loop {
            let marker = seen.last().map(ToString::to_string);
            let query = NodeQuery {
                sort_key,
                descending,
                marker,
                limit: Some(3),
                without_secrets: true,
                ..NodeQuery::default()
            };
            let page = store.page_of_nodes(&query).await.unwrap();
            assert!(page.len() <= 3 && page.iter().all(|node| node.driver_info.is_empty()));
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|node| node.uuid));
        }
        assert_eq!(seen, expected, "by {sort_key:?}, descending {descending}");
    }
    let unknown = NodeQuery { marker: Some(NodeId::random().to_string()), ..NodeQuery::default() };
    let refused = store.page_of_nodes(&unknown).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { what: "Node", .. }));
}

/// What a node is sorted by, from its document.
fn key_of(node: &Node, key: Option<&str>) -> Option<String> {
    let key = key?;
    if key == "deploy_interface" {
        return node.interfaces.get("deploy").cloned();
    }
    match serde_json::to_value(node).unwrap().get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    }
}

async fn texts_of_any_kind_are_found_again(store: Store) {
    for name in ["a\0b", "'; DROP TABLE nodes; --", "名前", "$1", "%"] {
        let mut written = node(name);
        written.extra.insert(name.into(), json!(name));
        store.create_node(&written).await.unwrap();
        assert_eq!(store.node(name).await.unwrap(), written);
    }
    let again = store.create_node(&node("a\0b")).await.unwrap_err();
    assert!(matches!(again, StoreError::Duplicate { field: "name", .. }));
    assert!(matches!(store.node("a\0c").await, Err(StoreError::NotFound { .. })));
    let by_text = NodeQuery { sort_key: Some("last_error"), ..NodeQuery::default() };
    assert_eq!(store.page_of_nodes(&by_text).await.unwrap().len(), 5);
}
