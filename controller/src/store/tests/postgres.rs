//! PostgreSQL: the server that the tests share, and what SQLite does not have.

use std::{
    collections::BTreeSet,
    fs::File,
    hash::{BuildHasher as _, DefaultHasher},
    path::PathBuf,
    process::Command,
    sync::{Arc, OnceLock},
};

use bessemer_proto::secret::Secret;
use futures_util::FutureExt as _;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use super::{db::Row, *};

/// A database of its own. The server is stopped some seconds after the last one is dropped.
pub(super) struct Database {
    /// Shared lock: the server is in use.
    _in_use: File,
    folder: TempDir,
    admin_url: String,
    name: String,
}

impl Database {
    async fn new() -> Self {
        let (in_use, admin_url) = server();
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let folder = tempfile::tempdir().unwrap();
        let database = Self { _in_use: in_use, folder, admin_url, name: name.clone() };
        database.admin(&format!("CREATE DATABASE {name}")).await;
        database
    }

    fn config(&self) -> Config {
        let url = self.admin_url.replace("/postgres?", &format!("/{}?", self.name));
        Config { url: Some(Secret::new(url)), ..Config::default() }
    }

    async fn start(&self) -> Result<Store, StoreError> {
        Store::start(&self.config(), &self.folder.path().join("state")).await
    }

    async fn admin(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.admin_url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    /// Ends all connections to the database, as a restart of the server does.
    async fn cut(&self) {
        let name = &self.name;
        self.admin(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ))
        .await;
    }
}

/// The server, started where it does not run yet, for as long as the file is open; and the URL of its first database.
fn server() -> (File, String) {
    // One server for the tests of a user, whichever process they run in.
    let user = rustix::process::getuid().as_raw();
    let server = std::env::temp_dir().join(format!("bessemer-test-postgres-{user}"));
    let in_use = File::create(server.with_extension("use")).unwrap();
    in_use.lock_shared().unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/store/tests/postgres.sh");
    let started = Command::new("bash").arg(script).arg(&server).output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let user = "postgresql://bessemer:very-secret-password@localhost";
    (in_use, format!("{user}/postgres?host={}", server.display()))
}

/// The database of a folder, made the first time.
pub(super) async fn open_in(folder: &Path) -> Store {
    static SERVER: OnceLock<(File, String)> = OnceLock::new();
    let (_, admin_url) = SERVER.get_or_init(server);
    let name =
        format!("f{:016x}", std::hash::BuildHasherDefault::<DefaultHasher>::default().hash_one(folder));
    let mut connection = PgConnection::connect(admin_url).await.unwrap();
    let known = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
    if known.fetch_optional(&mut connection).await.unwrap().is_none() {
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    }
    let url = Some(Secret::new(admin_url.replace("/postgres?", &format!("/{name}?"))));
    let config = Config { url, connections: std::num::NonZeroU32::new(2).unwrap() };
    loop {
        match Store::start(&config, folder).await {
            // The server has not seen yet that the controller before is gone.
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            store => return store.unwrap(),
        }
    }
}

pub(super) async fn open() -> (Database, Store) {
    let database = Database::new().await;
    let store = database.start().await.unwrap();
    (database, store)
}

#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let (_folder, sqlite) = super::sqlite::open().await;
    let (_database, postgres) = open().await;
    let columns = async |store: &Store, question| {
        let rows = store.inner.db.rows("look", &Sql::new(question)).await.unwrap();
        let column = |row: &Row| (row.text(0).unwrap().to_owned(), row.text(1).unwrap().to_owned());
        rows.iter().map(column).collect::<BTreeSet<_>>()
    };
    let in_sqlite = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c \
                     WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '%sqlx%'";
    let in_postgres = "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                       WHERE table_schema = 'public' AND table_name NOT LIKE '%sqlx%'";
    let expected = columns(&sqlite, in_sqlite).await;
    assert!(expected.len() > 50);
    assert_eq!(columns(&postgres, in_postgres).await, expected);
}

#[tokio::test]
async fn a_second_controller_is_refused_until_the_first_has_ended() {
    let (database, store) = open().await;
    let refused = database.start().await.unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    let sentence = format!("{refused} {refused:?}");
    assert!(sentence.contains(&database.name) && !sentence.contains("very-secret"), "{sentence}");
    store.create_node(&node("n1")).await.unwrap();
    store.close().await;
    drop(store);
    // The server lets go when it has read the end of the connection.
    let store = loop {
        match database.start().await {
            Err(StoreError::InUse { .. }) => tokio::task::yield_now().await,
            result => break result.unwrap(),
        }
    };
    assert!(store.node("n1").await.is_ok());
}

#[tokio::test]
async fn broken_connections_are_replaced_and_the_lock_is_taken_again() {
    let (database, store) = open().await;
    let mut changed = node("n1");
    store.create_node(&changed).await.unwrap();
    for _ in 0..3 {
        database.cut().await;
        store.update_node(&mut changed, None).await.unwrap();
        database.cut().await;
        assert_eq!(store.node("n1").await.unwrap(), changed);
    }
    assert_eq!(changed.version, 3);
    let lock = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                (SELECT oid FROM pg_database WHERE datname = current_database())";
    while store.inner.db.row("look", &Sql::new(lock)).await.unwrap().unwrap().number(0).unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(database.start().await, Err(StoreError::InUse { .. })));
}

#[tokio::test]
async fn a_controller_that_was_overtaken_is_told_and_writes_nothing_more() {
    let (database, store) = open().await;
    let mut changed = node("n1");
    store.create_node(&changed).await.unwrap();
    database.cut().await;
    // Comes before the first looks again.
    let second = database.start().await.unwrap();
    let before = changed.clone();
    let refused = store.update_node(&mut changed, None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Overtaken { action: "write a node" }), "{refused:?}");
    assert_eq!(second.node("n1").await.unwrap(), before);
    // That write has told it: the lock is looked at seconds later.
    store.lost().now_or_never().unwrap();
    second.update_node(&mut changed, None).await.unwrap();
    assert!(matches!(store.delete_node(changed.uuid).await, Err(StoreError::Overtaken { .. })));
}

#[tokio::test]
async fn a_controller_is_told_also_when_the_other_one_has_ended_again() {
    let (database, store) = open().await;
    database.cut().await;
    database.start().await.unwrap().close().await;
    tokio::time::timeout(std::time::Duration::from_secs(60), store.lost()).await.unwrap();
    let refused = store.create_node(&node("n1")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Overtaken { .. }), "{refused:?}");
}

#[tokio::test]
async fn who_takes_over_waits_for_a_write_that_is_under_way() {
    let (database, store) = open().await;
    let super::db::Db::Postgres { pool, fence, .. } = &store.inner.db else { unreachable!() };
    let mut tx = pool.begin().await.unwrap();
    assert!(fence.holds(&mut tx).await.unwrap());
    let mut other = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    let mut next = Box::pin(super::fence::Fence::begin(&mut other));
    let name = &database.name;
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
    );
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    loop {
        let waiting: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(&*waits)).fetch_one(&mut admin).await.unwrap();
        if waiting == 1 {
            break;
        }
        assert!(futures_util::poll!(&mut next).is_pending());
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
    next.await.unwrap();
    assert!(!fence.holds(&mut pool.begin().await.unwrap()).await.unwrap());
}

#[tokio::test]
async fn transactions_in_each_others_way_all_end() {
    let (_database, store) = open().await;
    let store = Arc::new(store);
    for round in 0..5 {
        let owner = node(&format!("n{round}"));
        store.create_node(&owner).await.unwrap();
        let boots = (0..8).map(|_| {
            let (store, new) = (Arc::clone(&store), boot(owner.uuid));
            tokio::spawn(async move { store.create_boot(&new).await })
        });
        let boots: Vec<_> = boots.collect();
        store.delete_node(owner.uuid).await.unwrap();
        for ended in boots {
            match ended.await.unwrap() {
                Ok(()) | Err(StoreError::NotFound { what: "Node", .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let (database, store) = open().await;
    store.create_node(&node("n1")).await.unwrap();
    store.close().await;
    drop(store);
    let key = database.folder.path().join("state/secret.key");
    std::fs::write(&key, [7; 32]).unwrap();
    let refused = loop {
        match database.start().await.unwrap_err() {
            StoreError::InUse { .. } => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(refused.to_string().contains("is not the one"), "{refused}");
}

#[test]
fn an_unusable_url_is_refused_without_being_shown() {
    for url in [
        "mysql://u:very-secret@h/d",
        "postgresql://u:very-secret@h",
        "very-secret",
        "postgresql://u:very-secret@h:x/d",
    ] {
        let config = Config { url: Some(Secret::new(url)), ..Config::default() };
        let refused = config.check().unwrap_err().to_string();
        assert!(refused.starts_with("store.url ") && !refused.contains("very-secret"), "{refused}");
        assert!(!format!("{config:?}").contains("very-secret"));
    }
}

#[test]
fn what_leaves_the_machine_is_encrypted_unless_the_url_says_otherwise() {
    let mode = |url: &str| super::super::config::server(&Secret::new(url)).unwrap().get_ssl_mode();
    use sqlx::postgres::PgSslMode;
    assert!(matches!(mode("postgresql://u@db.example.com/d"), PgSslMode::VerifyFull));
    assert!(matches!(mode("postgresql://u@192.0.2.1/d"), PgSslMode::VerifyFull));
    assert!(matches!(mode("postgresql://u@db.example.com/d?sslmode=disable"), PgSslMode::Disable));
    for local in [
        "postgresql://u@localhost/d",
        "postgresql://u@127.0.0.1/d",
        "postgresql://u@localhost/d?host=/run/postgresql",
    ] {
        assert!(!matches!(mode(local), PgSslMode::VerifyFull), "{local}");
    }
}
