//! Logs of agents.

use bessemer_proto::{
    ids::{BootId, NodeId},
    v1::LogRecord,
};

use super::{
    LogLine, Store, StoreError,
    db::{Sql, Value, Written},
    nodes::must_exist,
    not_found, unreadable,
};

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
        let must_exist = must_exist(node);
        let (id, boot) = (node.to_string(), boot.to_string());
        let mut all = vec![must_exist];
        all.extend(records.chunks(ROWS_PER_STATEMENT).map(|part| insert(&id, &boot, part)));
        let trim = Sql::new(
            "DELETE FROM agent_log WHERE node = $1 AND id <= \
             (SELECT id FROM agent_log WHERE node = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
        )
        .with(id.as_str())
        .with(LINES_PER_NODE);
        all.push(trim);
        match self.inner.db.write("add to an agent's log", &all).await? {
            Written::Missed(_) => Err(not_found("Node", node)),
            Written::All(_) => Ok(()),
        }
    }

    /// Log lines of a node with an id above `after`, oldest first.
    pub async fn log(&self, node: NodeId, after: i64, limit: u32) -> Result<Vec<LogLine>, StoreError> {
        let sql = Sql::new(
            "SELECT id, boot, time_ms, level, target, message FROM agent_log \
             WHERE node = $1 AND id > $2 ORDER BY id LIMIT $3",
        );
        let sql = sql.with(node.to_string()).with(after).with(limit);
        let rows = self.inner.db.rows("read an agent's log", &sql).await?;
        let odd = |problem: &dyn std::fmt::Display| unreadable("Log of node", &node.to_string(), problem);
        rows.iter()
            .map(|row| {
                Ok(LogLine {
                    id: row.number(0)?,
                    boot: row.text(1)?.parse().map_err(|error| odd(&error))?,
                    record: LogRecord {
                        time_ms: row.number(2)?,
                        level: i32::try_from(row.number(3)?).map_err(|error| odd(&error))?,
                        target: row.text(4)?.to_owned(),
                        message: row.text(5)?.to_owned(),
                    },
                })
            })
            .collect()
    }
}

fn insert(node: &str, boot: &str, records: &[LogRecord]) -> Sql {
    let mut sql = Sql::new("INSERT INTO agent_log (node, boot, time_ms, level, target, message) VALUES ");
    for (index, record) in records.iter().enumerate() {
        sql.push(if index == 0 { "(" } else { ", (" });
        sql.bind_list([
            Value::from(node),
            boot.into(),
            record.time_ms.into(),
            i64::from(record.level).into(),
            record.target.as_str().into(),
            record.message.as_str().into(),
        ]);
        sql.push(")");
    }
    sql
}
