//! Opening the database: files and their permissions, key, tables.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Inner, Store, StoreError, database, seal::Sealer};

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(10);
const KEY_FILE: &str = "secret.key";
/// Sealed with the key, so that a wrong key is found at once and not at the first node.
const KEY_CHECK: &str = "bessemer";

impl Store {
    /// Opens (and makes, and migrates) the database file. The key for secrets is `secret.key` beside it: made
    /// together with the database, never afterwards.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let key_path = folder.join(KEY_FILE);
        prepare_folder(folder)?;
        let sealer = Sealer::open(&key_path, !has_content(path))?;
        prepare_file(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true);
        let connect = |connections| {
            let options = options.clone();
            async move {
                SqlitePoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(Duration::from_secs(30))
                    .connect_with(options)
                    .await
                    .map_err(database("open its file"))
            }
        };
        let write = connect(1).await?;
        sqlx::migrate!("./migrations")
            .run(&write)
            .await
            .map_err(|source| StoreError::Migrate { path: path.to_owned(), source: Box::new(source) })?;
        check_key(&write, &sealer, &key_path).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                read: connect(READERS).await?,
                write,
                sealer,
                announce: OnceLock::new(),
            }),
        })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.inner.read.close().await;
        self.inner.write.close().await;
    }
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

fn prepare_folder(folder: &Path) -> Result<(), StoreError> {
    let failed = |action| move |source| StoreError::File { action, path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder"))?;
    let mode = fs::metadata(folder).map_err(failed("look at"))?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(folder = %folder.display(), "the state folder is open to every user: chmod 700 it");
    }
    Ok(())
}

/// SQLite gives its side files (`-wal`, `-shm`) the permissions of the main file.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::File { action: "make", path: path.to_owned(), source: error })
        }
        _ => fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(|source| StoreError::File { action: "protect", path: path.to_owned(), source }),
    }
}

async fn check_key(write: &SqlitePool, sealer: &Sealer, key_path: &Path) -> Result<(), StoreError> {
    let problem = |problem| StoreError::Key { path: key_path.to_owned(), problem };
    let stored: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'key-check'")
        .fetch_optional(write)
        .await
        .map_err(database("read its key check"))?;
    if let Some(stored) = stored {
        return sealer
            .unseal("meta", "key-check", &stored)
            .map(drop)
            .map_err(|_| problem("is not the one this database was written with: put the right one back"));
    }
    let sealed = sealer
        .seal("meta", "key-check", KEY_CHECK.as_bytes())
        .map_err(|_| problem("cannot be used: the system has no random numbers"))?;
    sqlx::query("INSERT INTO meta (key, value) VALUES ('key-check', $1)")
        .bind(sealed)
        .execute(write)
        .await
        .map(drop)
        .map_err(database("write its key check"))
}
