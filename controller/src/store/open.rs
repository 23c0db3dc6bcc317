//! Opening the database: files and their permissions, key, tables.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{
    Config, Inner, Store, StoreError, columns, database,
    db::{Db, Sql},
    postgres::{self, ControllerLock},
    seal::Sealer,
};

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(10);
const DATABASE_FILE: &str = "bessemer.db";
const KEY_FILE: &str = "secret.key";
/// Sealed with the key, so that a wrong key is found at once and not at the first node.
const KEY_CHECK: &str = "bessemer";

impl Store {
    /// Opens the database of the configuration: PostgreSQL, else the SQLite file in `state_dir`.
    pub async fn start(config: &Config, state_dir: &Path) -> Result<Self, StoreError> {
        match postgres::open(config).await? {
            Some(opened) => {
                prepare_folder(state_dir)?;
                let db = Db::Postgres {
                    pool: opened.pool,
                    fence: opened.fence,
                    #[cfg(test)]
                    fuse: super::fuse::Fuse::default(),
                };
                Self::finish(db, Some(opened.lock), &opened.name, &state_dir.join(KEY_FILE)).await
            }
            None => Self::open(&state_dir.join(DATABASE_FILE)).await,
        }
    }

    /// Opens (and makes, and migrates) a SQLite file. The key for secrets is `secret.key` beside it: made together
    /// with the database, never afterwards.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        prepare_folder(folder)?;
        prepare_file(path)?;
        let name = path.display().to_string();
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
                    // One whose transaction SQLite ended by itself (the disk was full) is of no more use.
                    .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
                    .connect_with(options)
                    .await
                    .map_err(database("open its file"))
            }
        };
        let write = connect(1).await?;
        sqlx::migrate!("./migrations")
            .run(&write)
            .await
            .map_err(|source| StoreError::Migrate { database: name.clone(), source: Box::new(source) })?;
        let db = Db::Sqlite {
            read: connect(READERS).await?,
            write,
            #[cfg(test)]
            fuse: super::fuse::Fuse::default(),
        };
        Self::finish(db, None, &name, &folder.join(KEY_FILE)).await
    }

    async fn finish(
        db: Db,
        lock: Option<ControllerLock>,
        name: &str,
        key_path: &Path,
    ) -> Result<Self, StoreError> {
        let sealer = open_key(&db, name, key_path).await?;
        columns::refresh(&db).await?;
        Ok(Self { inner: Arc::new(Inner { db, sealer, lock, announce: OnceLock::new() }) })
    }

    /// Waits until another controller took the database over: this one must stop.
    pub async fn lost(&self) {
        match &self.inner.lock {
            Some(lock) => lock.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for running statements and closes the database.
    pub async fn close(&self) {
        self.inner.db.close().await;
        if let Some(lock) = &self.inner.lock {
            lock.release();
        }
    }
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

/// The key that the database was written with; made for a database in which nothing was sealed yet.
async fn open_key(db: &Db, name: &str, path: &Path) -> Result<Sealer, StoreError> {
    let problem = |problem| StoreError::Key { path: path.to_owned(), database: name.to_owned(), problem };
    let question = Sql::new("SELECT value FROM meta WHERE key = 'key-check'");
    let stored = db.row("read its key check", &question).await?;
    let sealer = Sealer::open(path, stored.is_none(), &problem)?;
    if let Some(stored) = stored {
        sealer
            .unseal("meta", "key-check", stored.text(0)?)
            .map_err(|_| problem("is not the one this database was written with: put the right one back"))?;
        return Ok(sealer);
    }
    let sealed = sealer
        .seal("meta", "key-check", KEY_CHECK.as_bytes())
        .map_err(|_| problem("cannot be used: the system has no random numbers"))?;
    let insert = Sql::new("INSERT INTO meta (key, value) VALUES ('key-check', $1)").with(sealed);
    db.run("write its key check", insert).await?;
    Ok(sealer)
}
