//! Opening a PostgreSQL database, and the lock that keeps a second controller away from it.

use std::{future::pending, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{error, warn};

use super::{Config, StoreError, config::server, database};

/// How long a statement waits for a connection: a restart of the server should fit in.
const ACQUIRE: Duration = Duration::from_secs(20);
/// A connection that was not used for so long is tried before it is used: the server may be another one by now.
const UNUSED: Duration = Duration::from_millis(50);
/// "bessemer" as a number. Locks of this kind belong to one database of the server.
const LOCK: i64 = 0x6265_7373_656d_6572;
const LOOK: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);

/// An open database.
pub(super) struct Opened {
    pub(super) pool: PgPool,
    pub(super) lock: ControllerLock,
    /// How messages call it.
    pub(super) name: String,
}

/// Held as long as the controller uses the database; let go of by the server when the connection ends.
#[derive(Debug)]
pub(super) struct ControllerLock {
    task: JoinHandle<()>,
    lost: watch::Receiver<bool>,
}

/// Connects, takes the lock, brings the tables up to date.
pub(super) async fn open(config: &Config) -> Result<Option<Opened>, StoreError> {
    let Some(url) = &config.url else { return Ok(None) };
    let options = server(url)?;
    let name = shown(&options);
    let lock = ControllerLock::take(&options, &name).await?;
    let pool = PgPoolOptions::new()
        .max_connections(config.connections.get())
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, seen| {
            Box::pin(async move {
                if seen.idle_for > UNUSED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .map_err(database("connect to PostgreSQL"))?;
    sqlx::migrate!("./migrations/postgres")
        .run(&pool)
        .await
        .map_err(|source| StoreError::Migrate { database: name.clone(), source: Box::new(source) })?;
    Ok(Some(Opened { pool, lock, name }))
}

/// Without user and password.
fn shown(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    format!("postgresql://{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

// === impl ControllerLock ===

impl ControllerLock {
    async fn take(options: &PgConnectOptions, name: &str) -> Result<Self, StoreError> {
        // The server notices within half a minute that the controller's machine is gone.
        let options = options.clone().options([
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "4"),
        ]);
        let Some(connection) = try_lock(&options).await.map_err(database("connect to PostgreSQL"))? else {
            return Err(StoreError::InUse { database: name.to_owned() });
        };
        let (tell, lost) = watch::channel(false);
        let name = name.to_owned();
        let task = tokio::spawn(async move {
            keep(connection, &options, &name).await;
            tell.send_replace(true);
        });
        Ok(Self { task, lost })
    }

    /// Waits until another controller holds the lock.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            // Let go of in order.
            pending::<()>().await;
        }
    }

    pub(super) fn release(&self) {
        self.task.abort();
    }
}

impl Drop for ControllerLock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Holds the lock, takes it again after the server was away; ends when another controller has it.
async fn keep(mut connection: PgConnection, options: &PgConnectOptions, name: &str) {
    loop {
        while matches!(timeout(ANSWER, connection.ping()).await, Ok(Ok(()))) {
            sleep(LOOK).await;
        }
        warn!(database = name, "the connection that holds the controller's lock broke");
        connection = loop {
            match timeout(ANSWER, try_lock(options)).await {
                Ok(Ok(Some(connection))) => break connection,
                Ok(Ok(None)) => {
                    error!(database = name, "another controller took the database over");
                    return;
                }
                Ok(Err(_)) | Err(_) => sleep(LOOK).await,
            }
        };
    }
}

async fn try_lock(options: &PgConnectOptions) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let is_ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?;
    Ok(is_ours.then_some(connection))
}
