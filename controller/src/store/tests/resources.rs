use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Rack {
    uuid: Uuid,
    name: Option<String>,
    node: Option<NodeId>,
    label: Option<String>,
    secret: String,
}

impl Resource for Rack {
    const KIND: &'static str = "rack";
    const WHAT: &'static str = "Rack";
    fn uuid(&self) -> Uuid {
        self.uuid
    }
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    fn node(&self) -> Option<NodeId> {
        self.node
    }
    fn unique(&self) -> Option<(&'static str, String)> {
        self.label.clone().map(|label| ("label", label))
    }
}

/// Another kind with the same shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row(Rack);

impl Resource for Row {
    const KIND: &'static str = "row";
    const WHAT: &'static str = "Row";
    fn uuid(&self) -> Uuid {
        self.0.uuid
    }
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }
}

fn rack(name: Option<&str>) -> Rack {
    let (uuid, name) = (Uuid::new_v4(), name.map(str::to_owned));
    Rack { uuid, name, node: None, label: None, secret: "rack-secret-word".into() }
}

fn duplicate(error: StoreError) -> (&'static str, String) {
    match error {
        StoreError::Duplicate { field, value, .. } => (field, value),
        other => panic!("{other}"),
    }
}

on_both![
    a_resource_is_found_by_uuid_and_name_within_its_kind,
    each_unique_value_of_a_resource_is_named_when_taken,
    a_writer_of_an_older_resource_is_refused,
    a_resource_goes_with_its_node,
];

async fn a_resource_is_found_by_uuid_and_name_within_its_kind(store: Store) {
    let (first, second) = (rack(Some("a")), rack(None));
    let stored = store.create_resource(&first).await.unwrap();
    store.create_resource(&second).await.unwrap();
    store.create_resource(&rack(None)).await.unwrap();
    let row = Row(first.clone());
    store.create_resource(&row).await.unwrap();
    assert_eq!(store.resource::<Rack>("a").await.unwrap(), stored);
    let shouted = first.uuid.to_string().to_uppercase();
    assert_eq!(store.resource::<Rack>(&shouted).await.unwrap().value, first);
    assert_eq!(store.resource::<Row>("a").await.unwrap().value, row);
    let missing = store.resource::<Row>(&second.uuid.to_string()).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { what: "Row", .. }));
    let all = store.resources::<Rack>(None).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!([&all[0].value, &all[1].value], [&first, &second]);
    store.delete_resource::<Rack>(first.uuid).await.unwrap();
    let again = store.delete_resource::<Rack>(first.uuid).await.unwrap_err();
    assert!(matches!(again, StoreError::NotFound { what: "Rack", .. }));
    assert!(store.resource::<Row>("a").await.is_ok());
}

async fn each_unique_value_of_a_resource_is_named_when_taken(store: Store) {
    let mut first = rack(Some("a"));
    first.label = Some("l".into());
    store.create_resource(&first).await.unwrap();
    let taken = store.create_resource(&rack(Some("a"))).await.unwrap_err();
    assert_eq!(duplicate(taken), ("name", "a".into()));
    let mut second = rack(Some("b"));
    second.label = Some("l".into());
    assert_eq!(duplicate(store.create_resource(&second).await.unwrap_err()), ("label", "l".into()));
    second.label = None;
    second.uuid = first.uuid;
    let taken = store.create_resource(&second).await.unwrap_err();
    assert_eq!(duplicate(taken), ("uuid", first.uuid.to_string()));
    second.uuid = Uuid::new_v4();
    let mut stored = store.create_resource(&second).await.unwrap();
    stored.value.name = Some("a".into());
    assert_eq!(duplicate(store.update_resource(&mut stored).await.unwrap_err()), ("name", "a".into()));
    assert_eq!(store.resource::<Rack>("b").await.unwrap().value, second);
}

async fn a_writer_of_an_older_resource_is_refused(store: Store) {
    store.create_resource(&rack(Some("a"))).await.unwrap();
    let mut mine = store.resource::<Rack>("a").await.unwrap();
    let mut theirs = mine.clone();
    mine.value.name = Some("mine".into());
    store.update_resource(&mut mine).await.unwrap();
    assert_eq!(store.resource::<Rack>("mine").await.unwrap(), mine);
    assert!(mine.version == 1 && mine.updated_at.is_some());
    let late = store.update_resource(&mut theirs).await.unwrap_err();
    assert!(matches!(late, StoreError::Conflict { what: "Rack", .. }));
    store.delete_resource::<Rack>(mine.value.uuid).await.unwrap();
    let gone = store.update_resource(&mut mine).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound { what: "Rack", .. }));
}

async fn a_resource_goes_with_its_node(store: Store) {
    let (first, second) = (node("n1"), node("n2"));
    store.create_node(&first).await.unwrap();
    store.create_node(&second).await.unwrap();
    let mut orphan = rack(None);
    orphan.node = Some(NodeId::random());
    let refused = store.create_resource(&orphan).await.unwrap_err();
    assert!(matches!(refused, StoreError::NotFound { what: "Node", .. }));
    orphan.node = Some(first.uuid);
    let mut moved = store.create_resource(&orphan).await.unwrap();
    assert_eq!(store.resources::<Rack>(Some(first.uuid)).await.unwrap().len(), 1);
    assert!(store.resources::<Rack>(Some(second.uuid)).await.unwrap().is_empty());
    moved.value.node = Some(second.uuid);
    store.update_resource(&mut moved).await.unwrap();
    store.delete_node(first.uuid).await.unwrap();
    assert_eq!(store.resources::<Rack>(None).await.unwrap(), [moved]);
    store.delete_node(second.uuid).await.unwrap();
    assert!(store.resources::<Rack>(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn resources_are_sealed_each_in_its_place() {
    let (folder, store) = sqlite::open().await;
    let (first, second) = (rack(Some("a")), rack(Some("b")));
    store.create_resource(&first).await.unwrap();
    store.create_resource(&second).await.unwrap();
    let swap = "UPDATE resources SET document = (SELECT document FROM resources WHERE name = 'a') \
                WHERE name = 'b'";
    store.inner.db.run("swap", Sql::new(swap)).await.unwrap();
    let swapped = store.resource::<Rack>("b").await.unwrap_err();
    assert!(matches!(swapped, StoreError::Sealed { what: "Rack", .. }));
    store.close().await;
    for entry in std::fs::read_dir(folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == b"rack-secret-word"));
    }
}
