//! SQLite only: files, keys, room on the disk.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::{
    db::{Must, Written},
    *,
};

pub(super) async fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state/bessemer.db")).await.unwrap();
    (folder, store)
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

/// `max_page_count` of the writing connection.
async fn room_for_pages(store: &Store, pages: &'static str) {
    let written = store.inner.db.write("limit", &[Sql::new(pages).must(Must::Find)]).await.unwrap();
    assert!(matches!(written, Written::All(1)));
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_that_was_answered_is_lost() {
    let (folder, store) = open().await;
    room_for_pages(&store, "PRAGMA max_page_count = 120").await;
    let mut written = Vec::new();
    let error = loop {
        let mut next = node(&format!("n{}", written.len()));
        next.extra.insert("large".into(), json!("x".repeat(20_000)));
        match store.create_node(&next).await {
            Ok(()) => written.push(next),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Database { action: "add a node", .. }), "{error}");
    assert!(!written.is_empty());
    assert_eq!(store.nodes(&NodeFilter::default()).await.unwrap(), written);
    room_for_pages(&store, "PRAGMA max_page_count = 100000").await;
    let later = node("later");
    store.create_node(&later).await.unwrap();
    written.push(later);
    store.close().await;
    let store = Store::open(&folder.path().join("state/bessemer.db")).await.unwrap();
    assert_eq!(store.nodes(&NodeFilter::default()).await.unwrap(), written);
}

#[tokio::test]
async fn a_write_waits_for_another_program_that_holds_the_file() {
    let (folder, store) = open().await;
    let path = folder.path().join("state/bessemer.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let other = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let new = node("n1");
    let (written, ()) = tokio::join!(store.create_node(&new), async {
        store.nodes(&NodeFilter::default()).await.unwrap();
        held.rollback().await.unwrap();
    });
    written.unwrap();
    assert_eq!(store.node("n1").await.unwrap(), new);
}
