//! What holds for either database.

use super::*;

on_both![
    a_node_comes_back_as_it_was_by_uuid_and_by_name,
    each_unique_value_of_a_node_is_named_when_taken,
    a_writer_that_read_an_older_version_is_refused,
    a_refused_write_leaves_no_history,
    a_line_of_history_from_before_there_were_details_keeps_its_id,
    filters_choose_nodes,
    a_mac_address_belongs_to_one_port,
    a_token_serves_one_key_and_a_new_boot_closes_the_old,
    two_keys_race_for_a_token_and_one_wins,
    a_step_ends_once_and_only_for_its_node,
    a_log_keeps_the_newest_lines_of_each_node,
    a_sealed_value_cannot_be_moved_to_another_node,
];

async fn a_node_comes_back_as_it_was_by_uuid_and_by_name(store: Store) {
    let mut written = node("n1");
    written.properties.insert("capabilities".into(), json!("boot_mode:uefi"));
    store.create_node(&written).await.unwrap();
    assert_eq!(store.node("n1").await.unwrap(), written);
    assert_eq!(store.node(&written.uuid.to_string()).await.unwrap(), written);
    assert!(matches!(store.node("n2").await, Err(StoreError::NotFound { what: "Node", .. })));
}

async fn each_unique_value_of_a_node_is_named_when_taken(store: Store) {
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

async fn a_writer_that_read_an_older_version_is_refused(store: Store) {
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

async fn a_refused_write_leaves_no_history(store: Store) {
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

async fn a_line_of_history_from_before_there_were_details_keeps_its_id(store: Store) {
    let made = node("n1");
    store.create_node(&made).await.unwrap();
    let old = "INSERT INTO history (node, time, from_state, to_state) VALUES ($1, 7, 'enroll', 'verifying')";
    store.inner.db.run("add", Sql::new(old).with(made.uuid.to_string())).await.unwrap();
    let first = store.history(made.uuid, 1).await.unwrap().remove(0);
    assert_eq!(first.details.event_type, "verify");
    assert_eq!(store.history(made.uuid, 1).await.unwrap()[0].details.uuid, first.details.uuid);
}

async fn filters_choose_nodes(store: Store) {
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

async fn a_mac_address_belongs_to_one_port(store: Store) {
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

async fn a_token_serves_one_key_and_a_new_boot_closes_the_old(store: Store) {
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

async fn two_keys_race_for_a_token_and_one_wins(store: Store) {
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

async fn a_step_ends_once_and_only_for_its_node(store: Store) {
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

async fn a_log_keeps_the_newest_lines_of_each_node(store: Store) {
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

async fn a_sealed_value_cannot_be_moved_to_another_node(store: Store) {
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
