//! Boots of the deploy ramdisk.

use bessemer_proto::ids::{BootId, NodeId};
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction, sqlite::SqliteRow};

use super::{Boot, Store, StoreError, database, not_found, time_of, unreadable};

const COLUMNS: &str =
    "SELECT id, node, token_hash, token_expires, enrolled_key_hash, created, closed FROM boots ";

impl Store {
    /// Adds a boot and closes the node's older ones.
    pub async fn create_boot(&self, boot: &Boot) -> Result<(), StoreError> {
        let mut transaction = self.begin("add a boot").await?;
        close_boots(&mut transaction, boot.node).await?;
        sqlx::query(
            "INSERT INTO boots (id, node, token_hash, token_expires, enrolled_key_hash, created, closed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(boot.id.to_string())
        .bind(boot.node.to_string())
        .bind(hex::encode(&boot.token_hash))
        .bind(boot.token_expires.timestamp_micros())
        .bind(boot.enrolled_key_hash.as_ref().map(hex::encode))
        .bind(boot.created.timestamp_micros())
        .bind(i64::from(boot.closed))
        .execute(&mut *transaction)
        .await
        .map_err(database("add a boot"))?;
        transaction.commit().await.map_err(database("add a boot"))
    }

    /// The boot of that id.
    pub async fn boot(&self, id: BootId) -> Result<Boot, StoreError> {
        let row = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push("WHERE id = ")
            .push_bind(id.to_string())
            .build()
            .fetch_optional(&self.inner.read)
            .await
            .map_err(database("read a boot"))?;
        boot_of(&row.ok_or_else(|| not_found("Boot", id))?)
    }

    /// Notes the key that used the token; false when another key had used it (or the boot is closed). Atomic.
    pub async fn enroll_boot(&self, id: BootId, key_hash: &[u8]) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE boots SET enrolled_key_hash = $1 WHERE id = $2 AND closed = 0 \
             AND (enrolled_key_hash IS NULL OR enrolled_key_hash = $1)",
        )
        .bind(hex::encode(key_hash))
        .bind(id.to_string())
        .execute(&self.inner.write)
        .await
        .map_err(database("note a boot's key"))?;
        if done.rows_affected() == 0 {
            self.boot(id).await?;
        }
        Ok(done.rows_affected() > 0)
    }

    /// Closes all boots of a node.
    pub async fn close_boots(&self, node: NodeId) -> Result<(), StoreError> {
        let mut transaction = self.begin("close boots").await?;
        close_boots(&mut transaction, node).await?;
        transaction.commit().await.map_err(database("close boots"))
    }

    /// The node's newest boot that is not closed: tests ask whether one was left behind.
    #[cfg(test)]
    pub(crate) async fn open_boot(&self, node: NodeId) -> Result<Option<Boot>, StoreError> {
        let row = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push("WHERE closed = 0 AND node = ")
            .push_bind(node.to_string())
            .push(" ORDER BY seq DESC LIMIT 1")
            .build()
            .fetch_optional(&self.inner.read)
            .await
            .map_err(database("read a boot"))?;
        row.as_ref().map(boot_of).transpose()
    }
}

async fn close_boots(transaction: &mut Transaction<'_, Sqlite>, node: NodeId) -> Result<(), StoreError> {
    sqlx::query("UPDATE boots SET closed = 1 WHERE node = $1 AND closed = 0")
        .bind(node.to_string())
        .execute(&mut **transaction)
        .await
        .map(drop)
        .map_err(database("close boots"))
}

fn boot_of(row: &SqliteRow) -> Result<Boot, StoreError> {
    let read = database("read a boot");
    let id: &str = row.try_get(0).map_err(&read)?;
    let node: &str = row.try_get(1).map_err(&read)?;
    let token_hash: &str = row.try_get(2).map_err(&read)?;
    let key_hash: Option<&str> = row.try_get(4).map_err(&read)?;
    Ok(Boot {
        id: id.parse().map_err(|error| unreadable("Boot", id, error))?,
        node: node.parse().map_err(|error| unreadable("Boot", id, error))?,
        token_hash: hex::decode(token_hash).map_err(|error| unreadable("Boot", id, error))?,
        token_expires: time_of(row.try_get(3).map_err(&read)?),
        enrolled_key_hash: key_hash
            .map(hex::decode)
            .transpose()
            .map_err(|error| unreadable("Boot", id, error))?,
        created: time_of(row.try_get(5).map_err(&read)?),
        closed: row.try_get::<i64, _>(6).map_err(&read)? != 0,
    })
}
