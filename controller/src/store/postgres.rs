//! Opening a PostgreSQL database, and the lock that keeps a second controller away from it.

use std::{sync::Arc, time::Duration};

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{error, warn};

use super::{Config, StoreError, config::server, database, fence::Fence};

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
    pub(super) fence: Arc<Fence>,
    /// How messages call it.
    pub(super) name: String,
}

/// Held as long as the controller uses the database; let go of by the server when the connection ends.
#[derive(Debug)]
pub(super) struct ControllerLock {
    task: JoinHandle<()>,
    fence: Arc<Fence>,
}

/// Connects, takes the lock, brings the tables up to date.
pub(super) async fn open(config: &Config) -> Result<Option<Opened>, StoreError> {
    let Some(url) = &config.url else { return Ok(None) };
    // The server notices within half a minute that the controller's machine is gone: it lets go of the lock, and of
    // writes under way.
    let options = server(url)?.options([
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "4"),
    ]);
    let name = shown(&options);
    let Some(mut connection) = try_lock(&options).await.map_err(database("connect to PostgreSQL"))? else {
        return Err(StoreError::InUse { database: name });
    };
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
        .connect_with(options.clone())
        .await
        .map_err(database("connect to PostgreSQL"))?;
    sqlx::migrate!("./migrations/postgres")
        .run(&pool)
        .await
        .map_err(|source| StoreError::Migrate { database: name.clone(), source: Box::new(source) })?;
    let fence = Fence::begin(&mut connection).await.map_err(database("take the database over"))?;
    let fence = Arc::new(fence);
    let lock = ControllerLock::new(connection, options, name.clone(), Arc::clone(&fence));
    Ok(Some(Opened { pool, lock, fence, name }))
}

/// Without user and password.
fn shown(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    format!("postgresql://{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

// === impl ControllerLock ===

impl ControllerLock {
    fn new(connection: PgConnection, options: PgConnectOptions, name: String, fence: Arc<Fence>) -> Self {
        let kept = Arc::clone(&fence);
        let task = tokio::spawn(async move {
            keep(connection, &options, &name, &kept).await;
            kept.end();
        });
        Self { task, fence }
    }

    /// Waits until another controller has the database.
    pub(super) async fn lost(&self) {
        self.fence.lost().await;
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

/// Holds the lock, takes it again after the server was away; ends when another controller has or had it.
async fn keep(mut connection: PgConnection, options: &PgConnectOptions, name: &str, fence: &Fence) {
    loop {
        while matches!(timeout(ANSWER, connection.ping()).await, Ok(Ok(()))) {
            sleep(LOOK).await;
        }
        warn!(database = name, "the connection that holds the controller's lock broke");
        connection = loop {
            match timeout(ANSWER, retake(options, fence)).await {
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

/// The lock again, if nobody else had it meanwhile.
async fn retake(options: &PgConnectOptions, fence: &Fence) -> Result<Option<PgConnection>, sqlx::Error> {
    let Some(mut connection) = try_lock(options).await? else { return Ok(None) };
    let is_ours = fence.stands(&mut connection).await?;
    Ok(is_ours.then_some(connection))
}

async fn try_lock(options: &PgConnectOptions) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let is_ours: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?;
    Ok(is_ours.then_some(connection))
}
