//! Boots of the deploy ramdisk.

use bessemer_proto::ids::{BootId, NodeId};

use super::{
    Boot, Store, StoreError,
    db::{Row, Sql, Written},
    nodes::must_exist,
    not_found, time_of, unreadable,
};

const COLUMNS: &str =
    "SELECT id, node, token_hash, token_expires, enrolled_key_hash, created, closed FROM boots ";

impl Store {
    /// Adds a boot and closes the node's older ones.
    pub async fn create_boot(&self, boot: &Boot) -> Result<(), StoreError> {
        let sql = Sql::new(
            "INSERT INTO boots (id, node, token_hash, token_expires, enrolled_key_hash, created, closed) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .with(boot.id.to_string())
        .with(boot.node.to_string())
        .with(hex::encode(&boot.token_hash))
        .with(boot.token_expires.timestamp_micros())
        .with(boot.enrolled_key_hash.as_ref().map(hex::encode))
        .with(boot.created.timestamp_micros())
        .with(boot.closed);
        let all = [must_exist(boot.node), close_all(boot.node), sql];
        match self.inner.db.write("add a boot", &all).await? {
            Written::Missed(_) => Err(not_found("Node", boot.node)),
            Written::All(_) => Ok(()),
        }
    }

    /// The boot of that id.
    pub async fn boot(&self, id: BootId) -> Result<Boot, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE id = ").bind(id.to_string());
        let row = self.inner.db.row("read a boot", &sql).await?;
        boot_of(&row.ok_or_else(|| not_found("Boot", id))?)
    }

    /// Notes the key that used the token; false when another key had used it (or the boot is closed). Atomic.
    pub async fn enroll_boot(&self, id: BootId, key_hash: &[u8]) -> Result<bool, StoreError> {
        let sql = Sql::new(
            "UPDATE boots SET enrolled_key_hash = $1 WHERE id = $2 AND closed = 0 \
             AND (enrolled_key_hash IS NULL OR enrolled_key_hash = $1)",
        )
        .with(hex::encode(key_hash))
        .with(id.to_string());
        let written = self.inner.db.run("note a boot's key", sql).await? > 0;
        if !written {
            self.boot(id).await?;
        }
        Ok(written)
    }

    /// Closes all boots of a node.
    pub async fn close_boots(&self, node: NodeId) -> Result<(), StoreError> {
        self.inner.db.run("close boots", close_all(node)).await.map(drop)
    }

    /// The node's newest boot that is not closed: tests ask whether one was left behind.
    #[cfg(test)]
    pub(crate) async fn open_boot(&self, node: NodeId) -> Result<Option<Boot>, StoreError> {
        let mut sql = Sql::new(COLUMNS);
        sql.push("WHERE closed = 0 AND node = ").bind(node.to_string());
        sql.push(" ORDER BY seq DESC LIMIT 1");
        self.inner.db.row("read a boot", &sql).await?.as_ref().map(boot_of).transpose()
    }
}

fn close_all(node: NodeId) -> Sql {
    Sql::new("UPDATE boots SET closed = 1 WHERE node = $1 AND closed = 0").with(node.to_string())
}

fn boot_of(row: &Row) -> Result<Boot, StoreError> {
    let id = row.text(0)?;
    Ok(Boot {
        id: id.parse().map_err(|error| unreadable("Boot", id, error))?,
        node: row.text(1)?.parse().map_err(|error| unreadable("Boot", id, error))?,
        token_hash: hex::decode(row.text(2)?).map_err(|error| unreadable("Boot", id, error))?,
        token_expires: time_of(row.number(3)?),
        enrolled_key_hash: row
            .maybe_text(4)?
            .map(hex::decode)
            .transpose()
            .map_err(|error| unreadable("Boot", id, error))?,
        created: time_of(row.number(5)?),
        closed: row.number(6)? != 0,
    })
}
