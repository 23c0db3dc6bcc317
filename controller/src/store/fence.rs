//! Keeps a controller that was overtaken from writing to PostgreSQL.
//!
//! The advisory lock says who may start. It is gone without a word when its connection breaks, so each write also looks
//! whether the number of the controller's reign is still the one in the database, within its transaction.

use sqlx::{PgConnection, Postgres, Transaction};
use tokio::sync::watch;

/// Counts the reign up, under the lock. Waits for writes that the controller before has under way.
const BEGIN: &str = "INSERT INTO meta (key, value) VALUES ('reign', '1') ON CONFLICT (key) \
                     DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value";
const LOOK: &str = "SELECT value FROM meta WHERE key = 'reign'";
/// Nobody counts it up before the transaction ends.
const HOLD: &str = "SELECT value FROM meta WHERE key = 'reign' AND value = $1 FOR SHARE";

/// The reign of one controller over the database.
#[derive(Debug)]
pub(super) struct Fence {
    reign: String,
    lost: watch::Sender<bool>,
}

// === impl Fence ===

impl Fence {
    /// Begins a reign; `connection` holds the lock.
    pub(super) async fn begin(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let reign = sqlx::query_scalar(BEGIN).fetch_one(connection).await?;
        Ok(Self { reign, lost: watch::Sender::new(false) })
    }

    /// Whether nobody else reigned since it began.
    pub(super) async fn stands(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let reign: Option<String> = sqlx::query_scalar(LOOK).fetch_optional(connection).await?;
        Ok(reign.as_deref() == Some(&*self.reign))
    }

    /// The same, and so until the end of the transaction.
    pub(super) async fn holds(&self, tx: &mut Transaction<'_, Postgres>) -> Result<bool, sqlx::Error> {
        if *self.lost.borrow() {
            return Ok(false);
        }
        let row = sqlx::query(HOLD).bind(&*self.reign).fetch_optional(&mut **tx).await?;
        if row.is_none() {
            self.end();
        }
        Ok(row.is_some())
    }

    /// Somebody else reigns.
    pub(super) fn end(&self) {
        self.lost.send_replace(true);
    }

    /// Waits until somebody else reigns.
    pub(super) async fn lost(&self) {
        // The sender lives as long as `self`.
        let _ = self.lost.subscribe().wait_for(|lost| *lost).await;
    }
}
