mod resources;

use std::os::unix::fs::PermissionsExt as _;

use bessemer_proto::ids::{BootId, NodeId, StepId};
use serde_json::json;
use tempfile::TempDir;

use super::{db::Sql, *};
use crate::node::{Node, Port, ProvisionState, Verb};

async fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state/bessemer.db")).await.unwrap();
    (folder, store)
}

fn node(name: &str) -> Node {
    let mut node = Node::new("redfish");
    node.name = Some(name.into());
    node.driver_info.insert("redfish_password".into(), json!("correct-horse-battery"));
    node.instance_info.insert("configdrive".into(), json!("very-secret-userdata"));
    node
}

fn port(node: NodeId, address: &str) -> Port {
    Port {
        uuid: uuid::Uuid::new_v4(),
        node,
        address: address.into(),
        name: None,
        description: None,
        pxe_enabled: true,
        physical_network: None,
        local_link_connection: Default::default(),
        extra: Default::default(),
        internal_info: Default::default(),
        is_smartnic: false,
        created_at: Utc::now(),
        updated_at: None,
    }
}

fn boot(node: NodeId) -> Boot {
    Boot {
        id: BootId::random(),
        node,
        token_hash: vec![7; 32],
        token_expires: Utc::now() + chrono::TimeDelta::hours(1),
        enrolled_key_hash: None,
        created: Utc::now(),
        closed: false,
    }
}

fn step(node: NodeId, boot: BootId) -> StepRow {
    StepRow {
        id: StepId::random(),
        node,
        boot,
        name: "write_image".into(),
        attempt: 1,
        arguments: json!({"authorization": "Bearer step-secret-token"}),
        deadline_seconds: 60,
        outcome: None,
        created: Utc::now(),
    }
}

#[tokio::test]
async fn a_node_comes_back_as_it_was_by_uuid_and_by_name() {
    let (_folder, store) = open().await;
    let mut written = node("n1");
    written.properties.insert("capabilities".into(), json!("boot_mode:uefi"));
    store.create_node(&written).await.unwrap();
    assert_eq!(store.node("n1").await.unwrap(), written);
    assert_eq!(store.node(&written.uuid.to_string()).await.unwrap(), written);
    assert!(matches!(store.node("n2").await, Err(StoreError::NotFound { what: "Node", .. })));
}

#[tokio::test]
async fn each_unique_value_of_a_node_is_named_when_taken() {
    let (_folder, store) = open().await;
    let mut first = node("n1");
    first.instance_uuid = Some("i1".into());
    store.create_node(&first).await.unwrap();
    let field = |error| match error {
        StoreError::Duplicate { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(store.create_node(&node("n1")).await.unwrap_err()), "name");
    let mut second = node("n2");
    second.instance_uuid = Some("i1".into());
    assert_eq!(field(store.create_node(&second).await.unwrap_err()), "instance_uuid");
    second.instance_uuid = None;
    second.uuid = first.uuid;
    assert_eq!(field(store.create_node(&second).await.unwrap_err()), "uuid");
    second.uuid = NodeId::random();
    store.create_node(&second).await.unwrap();
    second.name = Some("n1".into());
    assert_eq!(field(store.update_node(&mut second, None).await.unwrap_err()), "name");
}

#[tokio::test]
async fn a_writer_that_read_an_older_version_is_refused() {
    let (_folder, store) = open().await;
    store.create_node(&node("n1")).await.unwrap();
    let (mut mine, mut theirs) = (store.node("n1").await.unwrap(), store.node("n1").await.unwrap());
    mine.description = Some("mine".into());
    store.update_node(&mut mine, None).await.unwrap();
    assert_eq!(mine.version, 1);
    assert!(matches!(store.update_node(&mut theirs, None).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.node("n1").await.unwrap().description.as_deref(), Some("mine"));
    store.delete_node(mine.uuid).await.unwrap();
    assert!(matches!(store.update_node(&mut mine, None).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_refused_write_leaves_no_history() {
    let (_folder, store) = open().await;
    store.create_node(&node("n1")).await.unwrap();
    let (mut mine, mut theirs) = (store.node("n1").await.unwrap(), store.node("n1").await.unwrap());
    let before = mine.clone();
    let event = |to| HistoryEvent {
        time: time_of(Utc::now().timestamp_micros()),
        ..HistoryEvent::moved(&before, to, Some("why".into())).by("host")
    };
    let first = event(ProvisionState::Verifying);
    store.update_node(&mut mine, Some(&first)).await.unwrap();
    store.update_node(&mut theirs, Some(&event(ProvisionState::Manageable))).await.unwrap_err();
    assert_eq!(store.history(mine.uuid, 10).await.unwrap(), vec![first]);
    for _ in 0..310 {
        store.update_node(&mut mine, Some(&event(ProvisionState::Manageable))).await.unwrap();
    }
    assert_eq!(store.history(mine.uuid, 1000).await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_line_of_history_from_before_there_were_details_keeps_its_id() {
    let (_folder, store) = open().await;
    let made = node("n1");
    store.create_node(&made).await.unwrap();
    let old = "INSERT INTO history (node, time, from_state, to_state) VALUES ($1, 7, 'enroll', 'verifying')";
    store.inner.db.run("add", Sql::new(old).with(made.uuid.to_string())).await.unwrap();
    let first = store.history(made.uuid, 1).await.unwrap().remove(0);
    assert_eq!(first.details.event_type, "verify");
    assert_eq!(store.history(made.uuid, 1).await.unwrap()[0].details.uuid, first.details.uuid);
}

#[tokio::test]
async fn filters_choose_nodes() {
    let (_folder, store) = open().await;
    let mut first = node("n1");
    first.provision_state = ProvisionState::Enroll.next(Verb::Manage, None).unwrap().next;
    first.resource_class = Some("big".into());
    let mut second = node("n2");
    second.maintenance = true;
    second.instance_uuid = Some("i".into());
    second.reservation = Some("host".into());
    store.create_node(&first).await.unwrap();
    store.create_node(&second).await.unwrap();
    let names = async |filter: NodeFilter| -> Vec<String> {
        store.nodes(&filter).await.unwrap().into_iter().filter_map(|node| node.name).collect()
    };
    assert_eq!(names(NodeFilter::default()).await, ["n1", "n2"]);
    let verifying = vec![ProvisionState::Verifying, ProvisionState::Cleaning];
    assert_eq!(names(NodeFilter { provision_states: verifying, ..Default::default() }).await, ["n1"]);
    assert_eq!(names(NodeFilter { associated: Some(true), ..Default::default() }).await, ["n2"]);
    assert_eq!(names(NodeFilter { associated: Some(false), ..Default::default() }).await, ["n1"]);
    assert_eq!(names(NodeFilter { maintenance: Some(true), ..Default::default() }).await, ["n2"]);
    assert_eq!(names(NodeFilter { resource_class: Some("big".into()), ..Default::default() }).await, ["n1"]);
    assert_eq!(
        names(NodeFilter { driver: Some("x' OR 1=1 --".into()), ..Default::default() }).await,
        [""; 0]
    );
    assert_eq!(store.unsettled_nodes().await.unwrap(), [second.uuid]);
}

#[tokio::test]
async fn a_mac_address_belongs_to_one_port() {
    let (_folder, store) = open().await;
    let owner = node("n1");
    store.create_node(&owner).await.unwrap();
    let first = port(owner.uuid, "52:54:00:00:00:01");
    store.create_port(&first).await.unwrap();
    let again = store.create_port(&port(owner.uuid, "52:54:00:00:00:01")).await;
    assert!(matches!(again, Err(StoreError::Duplicate { field: "address", .. })));
    let orphan = store.create_port(&port(NodeId::random(), "52:54:00:00:00:02")).await;
    assert!(matches!(orphan, Err(StoreError::NotFound { what: "Node", .. })));
    let mut second = port(owner.uuid, "52:54:00:00:00:02");
    store.create_port(&second).await.unwrap();
    second.address = first.address.clone();
    assert!(matches!(store.update_port(&second).await, Err(StoreError::Duplicate { .. })));
    assert_eq!(store.ports(Some(owner.uuid), Some("52:54:00:00:00:01")).await.unwrap(), [first]);
    store.delete_node(owner.uuid).await.unwrap();
    assert!(store.ports(None, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_serves_one_key_and_a_new_boot_closes_the_old() {
    let (_folder, store) = open().await;
    let owner = node("n1");
    store.create_node(&owner).await.unwrap();
    let (old, new) = (boot(owner.uuid), boot(owner.uuid));
    store.create_boot(&old).await.unwrap();
    assert!(store.enroll_boot(old.id, b"key-a").await.unwrap());
    assert!(store.enroll_boot(old.id, b"key-a").await.unwrap(), "a lost answer may be asked for again");
    assert!(!store.enroll_boot(old.id, b"key-b").await.unwrap());
    store.create_boot(&new).await.unwrap();
    assert!(store.boot(old.id).await.unwrap().closed);
    assert!(!store.enroll_boot(old.id, b"key-a").await.unwrap());
    assert_eq!(store.open_boot(owner.uuid).await.unwrap().unwrap().id, new.id);
    store.close_boots(owner.uuid).await.unwrap();
    assert!(store.open_boot(owner.uuid).await.unwrap().is_none());
    assert!(matches!(store.enroll_boot(BootId::random(), b"k").await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn two_keys_race_for_a_token_and_one_wins() {
    let (_folder, store) = open().await;
    let owner = node("n1");
    store.create_node(&owner).await.unwrap();
    let raced = boot(owner.uuid);
    store.create_boot(&raced).await.unwrap();
    let tries = (0..16).map(|key: u8| {
        let store = store.clone();
        async move { store.enroll_boot(raced.id, &[key]).await.unwrap() }
    });
    let won = futures_util::future::join_all(tries).await;
    assert_eq!(won.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn a_step_ends_once_and_only_for_its_node() {
    let (_folder, store) = open().await;
    let (owner, other) = (node("n1"), node("n2"));
    store.create_node(&owner).await.unwrap();
    store.create_node(&other).await.unwrap();
    let row = step(owner.uuid, BootId::random());
    store.create_step(&row).await.unwrap();
    let success = StepOutcome::Succeeded(json!({"bytes": 1}));
    assert!(matches!(
        store.finish_step(other.uuid, row.id, &success).await,
        Err(StoreError::NotFound { what: "Step", .. })
    ));
    assert_eq!(store.step(row.id).await.unwrap().outcome, None);
    store.finish_step(owner.uuid, row.id, &success).await.unwrap();
    store.finish_step(owner.uuid, row.id, &StepOutcome::Failed("late".into())).await.unwrap();
    let read = store.step(row.id).await.unwrap();
    assert_eq!(read.outcome, Some(success));
    assert_eq!(read.arguments, row.arguments);
}

#[tokio::test]
async fn a_log_keeps_the_newest_lines_of_each_node() {
    let (_folder, store) = open().await;
    let (loud, quiet) = (node("n1"), node("n2"));
    store.create_node(&loud).await.unwrap();
    store.create_node(&quiet).await.unwrap();
    let record = |message: String| LogRecord { time_ms: 1, level: 3, target: "t".into(), message };
    store.append_log(quiet.uuid, BootId::random(), &[record("only".into())]).await.unwrap();
    for part in 0..12 {
        let records: Vec<_> = (0..1000).map(|line| record(format!("{}", part * 1000 + line))).collect();
        store.append_log(loud.uuid, BootId::random(), &records).await.unwrap();
    }
    let lines = store.log(loud.uuid, 0, 20_000).await.unwrap();
    assert_eq!(lines.len(), 10_000);
    assert_eq!(lines.first().unwrap().record.message, "2000");
    let last = lines.last().unwrap();
    assert_eq!(last.record.message, "11999");
    assert!(store.log(loud.uuid, last.id, 10).await.unwrap().is_empty());
    assert_eq!(store.log(quiet.uuid, 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_secret_is_in_the_files_and_only_the_owner_may_read_them() {
    let (folder, store) = open().await;
    let mut secret = node("n1");
    store.create_node(&secret).await.unwrap();
    store.update_node(&mut secret, None).await.unwrap();
    store.create_step(&step(secret.uuid, BootId::random())).await.unwrap();
    store.close().await;
    let state = folder.path().join("state");
    assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let mut seen = 0;
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        let bytes = std::fs::read(&path).unwrap();
        seen += bytes.len();
        for word in ["correct-horse-battery", "very-secret-userdata", "step-secret-token"] {
            let found = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} is in {path:?}");
        }
    }
    assert!(seen > 4096);
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_an_error_and_never_replaced() {
    let (folder, store) = open().await;
    store.create_node(&node("n1")).await.unwrap();
    store.close().await;
    let (db, key) = (folder.path().join("state/bessemer.db"), folder.path().join("state/secret.key"));
    let right = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let missing = Store::open(&db).await.unwrap_err();
    assert!(missing.to_string().contains("is missing"), "{missing}");
    assert!(!key.exists());
    let put = |bytes: &[u8], mode| {
        std::fs::write(&key, bytes).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    put(&[1; 32], 0o600);
    assert!(Store::open(&db).await.unwrap_err().to_string().contains("is not the one"));
    put(&[1; 31], 0o600);
    assert!(Store::open(&db).await.unwrap_err().to_string().contains("32 bytes"));
    put(&right, 0o644);
    assert!(Store::open(&db).await.unwrap_err().to_string().contains("chmod 600"));
    put(&right, 0o600);
    assert!(Store::open(&db).await.unwrap().node("n1").await.is_ok());
}

#[tokio::test]
async fn a_sealed_value_cannot_be_moved_to_another_node() {
    let (_folder, store) = open().await;
    let (first, second) = (node("n1"), node("n2"));
    store.create_node(&first).await.unwrap();
    store.create_node(&second).await.unwrap();
    let swap =
        "UPDATE nodes SET driver_info = (SELECT driver_info FROM nodes WHERE uuid = $1) WHERE uuid = $2";
    let swap = Sql::new(swap).with(first.uuid.to_string()).with(second.uuid.to_string());
    store.inner.db.run("swap", swap).await.unwrap();
    assert!(matches!(store.node("n2").await, Err(StoreError::Sealed { what: "Node", .. })));
    assert!(store.node("n1").await.is_ok());
}
