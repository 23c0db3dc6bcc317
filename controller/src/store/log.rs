//! Logs of agents.

use bessemer_proto::{
    ids::{BootId, NodeId},
    v1::LogRecord,
};
use sqlx::Row as _;

use super::{LogLine, Store, StoreError, database, unreadable};

const LINES_PER_NODE: i64 = 10_000;
/// SQLite takes 32,766 parameters in a statement.
const ROWS_PER_STATEMENT: usize = 1000;

impl Store {
    /// Adds log records of a boot, keeping at most the newest 10,000 of a node.
    pub async fn append_log(
        &self,
        node: NodeId,
        boot: BootId,
        records: &[LogRecord],
    ) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let (node, boot) = (node.to_string(), boot.to_string());
        let mut transaction = self.begin("add to an agent's log").await?;
        for part in records.chunks(ROWS_PER_STATEMENT) {
            let mut query = sqlx::QueryBuilder::new(
                "INSERT INTO agent_log (node, boot, time_ms, level, target, message) ",
            );
            query.push_values(part, |mut row, record| {
                row.push_bind(node.as_str())
                    .push_bind(boot.as_str())
                    .push_bind(record.time_ms)
                    .push_bind(i64::from(record.level))
                    .push_bind(record.target.as_str())
                    .push_bind(record.message.as_str());
            });
            query.build().execute(&mut *transaction).await.map_err(database("add to an agent's log"))?;
        }
        sqlx::query(
            "DELETE FROM agent_log WHERE node = $1 AND id <= \
             (SELECT id FROM agent_log WHERE node = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
        )
        .bind(&node)
        .bind(LINES_PER_NODE)
        .execute(&mut *transaction)
        .await
        .map_err(database("trim an agent's log"))?;
        transaction.commit().await.map_err(database("add to an agent's log"))
    }

    /// Log lines of a node with an id above `after`, oldest first.
    pub async fn log(&self, node: NodeId, after: i64, limit: u32) -> Result<Vec<LogLine>, StoreError> {
        let read = database("read an agent's log");
        let rows = sqlx::query(
            "SELECT id, boot, time_ms, level, target, message FROM agent_log \
             WHERE node = $1 AND id > $2 ORDER BY id LIMIT $3",
        )
        .bind(node.to_string())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.inner.read)
        .await
        .map_err(&read)?;
        rows.iter()
            .map(|row| {
                let boot: &str = row.try_get(1).map_err(&read)?;
                Ok(LogLine {
                    id: row.try_get(0).map_err(&read)?,
                    boot: boot
                        .parse()
                        .map_err(|error| unreadable("Log of node", &node.to_string(), error))?,
                    record: LogRecord {
                        time_ms: row.try_get(2).map_err(&read)?,
                        level: row.try_get(3).map_err(&read)?,
                        target: row.try_get(4).map_err(&read)?,
                        message: row.try_get(5).map_err(&read)?,
                    },
                })
            })
            .collect()
    }
}
