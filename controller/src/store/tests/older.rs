//! A file that the first version wrote is opened by this one.

use std::borrow::Cow;

use sqlx::{SqlitePool, migrate::Migrator, sqlite::SqliteConnectOptions};

use super::{seal::Sealer, *};

/// Makes the database as the first version did, with one row of each table.
async fn first_version(folder: &std::path::Path, old: &Node, id: StepId) {
    std::fs::create_dir(folder).unwrap();
    let key_path = folder.join("secret.key");
    let sealer = Sealer::open(&key_path, true, &|problem| panic!("{problem}")).unwrap();
    let options = SqliteConnectOptions::new().filename(folder.join("bessemer.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let all = sqlx::migrate!("./migrations");
    let first = Migrator { migrations: Cow::Owned(all.migrations[..1].to_vec()), ..Migrator::DEFAULT };
    first.run(&pool).await.unwrap();
    let uuid = old.uuid.to_string();
    let bare = Node { driver_info: Default::default(), instance_info: Default::default(), ..old.clone() };
    let seal = |row: &str, column: &str, plain: &Value| {
        sealer.seal(row, column, plain.to_string().as_bytes()).unwrap()
    };
    let check = sealer.seal("meta", "key-check", b"bessemer").unwrap();
    sqlx::query("INSERT INTO meta VALUES ('key-check', $1)").bind(check).execute(&pool).await.unwrap();
    sqlx::query(
        "INSERT INTO nodes (uuid, name, instance_uuid, provision_state, driver, resource_class, maintenance, \
         unsettled, version, document, driver_info, instance_info) VALUES ($1, $2, NULL, 'active', 'redfish', \
         NULL, 1, 1, 5, $3, $4, $5)",
    )
    .bind(&uuid)
    .bind(&old.name)
    .bind(serde_json::to_string(&bare).unwrap())
    .bind(seal(&uuid, "driver_info", &Value::Object(old.driver_info.clone())))
    .bind(seal(&uuid, "instance_info", &Value::Object(old.instance_info.clone())))
    .execute(&pool)
    .await
    .unwrap();
    let port = port(old.uuid, "52:54:00:00:00:01");
    sqlx::query("INSERT INTO ports (uuid, node, address, document) VALUES ($1, $2, $3, $4)")
        .bind(port.uuid.to_string())
        .bind(&uuid)
        .bind(&port.address)
        .bind(serde_json::to_string(&port).unwrap())
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO steps (id, node, boot, name, attempt, arguments, deadline_seconds, created) \
         VALUES ($1, $2, $3, 'write_image', 1, $4, 60, 7)",
    )
    .bind(id.to_string())
    .bind(&uuid)
    .bind(BootId::random().to_string())
    .bind(seal(&id.to_string(), "arguments", &json!({"token": "t"})))
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO history (node, time, from_state, to_state) VALUES ($1, 7, 'deploying', 'active')",
    )
    .bind(&uuid)
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&key_path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn what_the_first_version_wrote_is_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, id) = (folder.path().join("state"), StepId::random());
    let mut old = node("n1");
    old.provision_state = ProvisionState::Active;
    old.maintenance = true;
    old.reservation = Some("host".into());
    old.owner = Some("p1".into());
    old.description = Some("Old ÄRGER".into());
    old.version = 5;
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    first_version(&folder, &old, id).await;
    let store = Store::open(&folder.join("bessemer.db")).await.unwrap();
    assert_eq!(store.node("n1").await.unwrap(), old);
    // The columns that the first version did not have are filled from the document.
    let filters = [
        NodeFilter { owner: Some("p1".into()), maintenance: Some(true), ..NodeFilter::default() },
        NodeFilter { description_contains: Some("ärger".into()), ..NodeFilter::default() },
    ];
    for filter in filters {
        assert_eq!(store.nodes(&filter).await.unwrap(), [old.clone()], "{filter:?}");
    }
    let newest = NodeQuery { sort_key: Some("created_at"), ..NodeQuery::default() };
    assert_eq!(store.page_of_nodes(&newest).await.unwrap().len(), 1);
    assert_eq!(store.unsettled_nodes().await.unwrap(), [old.uuid]);
    assert_eq!(store.ports(Some(old.uuid), None).await.unwrap().len(), 1);
    assert_eq!(store.step(id).await.unwrap().arguments, json!({"token": "t"}));
    let history = store.history(old.uuid, 10).await.unwrap();
    assert_eq!((history.len(), history[0].to), (1, ProvisionState::Active));
    let mut changed = old.clone();
    changed.owner = None;
    store.update_node(&mut changed, None).await.unwrap();
    assert_eq!(changed.version, 6);
    store.delete_node(old.uuid).await.unwrap();
    assert!(store.ports(None, None).await.unwrap().is_empty());
}
