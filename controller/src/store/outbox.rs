//! Messages to be sent to others, written in the transaction of what they tell of.

use std::sync::Arc;

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{HistoryEvent, Store, StoreError, db::Sql, time_of, unreadable};
use crate::node::Node;

/// Makes the messages of a line of history.
pub type Announce = Arc<dyn Fn(&Node, &HistoryEvent) -> Vec<Message> + Send + Sync>;

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id; the same at each attempt.
    pub id: Uuid,
    /// To whom.
    pub receiver: String,
    /// About which node: messages about one node are sent in their order.
    pub node: NodeId,
    /// When it was written.
    pub created: DateTime<Utc>,
    /// What is sent.
    pub body: String,
    /// How often it was sent and not taken.
    pub attempts: u32,
}

impl Store {
    /// From now on each line of history also leaves these messages. Only the first call counts.
    pub fn announce(&self, announce: Announce) {
        let _ = self.inner.announce.set(announce);
    }

    /// The messages to a receiver that may be sent now: the oldest of each node, who waits longest first. One that is
    /// due later than `latest` was put off by a clock that was wrong.
    pub async fn outbox(
        &self,
        receiver: &str,
        now: DateTime<Utc>,
        latest: DateTime<Utc>,
        most: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let sql = Sql::new(
            "SELECT id, node, created, body, attempts FROM outbox WHERE seq IN \
             (SELECT MIN(seq) FROM outbox WHERE receiver = $1 GROUP BY node) \
             AND (due <= $2 OR due > $3) ORDER BY CASE due WHEN 0 THEN created ELSE due END, seq LIMIT $4",
        );
        let sql = sql.with(receiver).with(now.timestamp_micros()).with(latest.timestamp_micros()).with(most);
        self.messages_of(receiver, &sql).await
    }

    /// All that wait, in their order.
    #[cfg(test)]
    pub(crate) async fn all_messages(&self, receiver: &str) -> Result<Vec<Message>, StoreError> {
        let sql = "SELECT id, node, created, body, attempts FROM outbox WHERE receiver = $1 ORDER BY seq";
        self.messages_of(receiver, &Sql::new(sql).with(receiver)).await
    }

    async fn messages_of(&self, receiver: &str, sql: &Sql) -> Result<Vec<Message>, StoreError> {
        let rows = self.inner.db.rows("read messages to be sent", sql).await?;
        rows.iter()
            .map(|row| {
                let (id, node) = (row.text(0)?, row.text(1)?);
                Ok(Message {
                    id: id.parse().map_err(|error| unreadable("Message", id, error))?,
                    receiver: receiver.to_owned(),
                    node: node.parse().map_err(|error| unreadable("Message", id, error))?,
                    created: time_of(row.number(2)?),
                    body: row.text(3)?.to_owned(),
                    attempts: u32::try_from(row.number(4)?).unwrap_or(u32::MAX),
                })
            })
            .collect()
    }

    /// Takes messages out that were sent or given up.
    pub async fn remove_messages(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut sql = Sql::new("DELETE FROM outbox WHERE id IN (");
        sql.bind_list(ids.iter().map(ToString::to_string)).push(")");
        self.inner.db.run("remove messages", sql).await.map(drop)
    }

    /// Puts messages off that were not taken: each until then.
    pub async fn put_off_messages(&self, messages: &[(Uuid, DateTime<Utc>)]) -> Result<(), StoreError> {
        if messages.is_empty() {
            return Ok(());
        }
        let put_off = |(id, until): &(Uuid, DateTime<Utc>)| {
            let sql = Sql::new("UPDATE outbox SET due = $1, attempts = attempts + 1 WHERE id = $2");
            sql.with(until.timestamp_micros()).with(id.to_string())
        };
        let all: Vec<_> = messages.iter().map(put_off).collect();
        self.inner.db.write("put messages off", &all).await.map(drop)
    }

    /// Takes out what was written before `created`; says how many messages that were.
    pub async fn expire_messages(&self, receiver: &str, created: DateTime<Utc>) -> Result<u64, StoreError> {
        let sql = Sql::new("DELETE FROM outbox WHERE receiver = $1 AND created < $2");
        let sql = sql.with(receiver).with(created.timestamp_micros());
        self.inner.db.run("remove messages", sql).await
    }

    /// Keeps the newest messages to a receiver only; says how many were taken out.
    pub async fn trim_messages(&self, receiver: &str, most: u32) -> Result<u64, StoreError> {
        let sql = Sql::new(
            "DELETE FROM outbox WHERE receiver = $1 AND seq <= \
             (SELECT seq FROM outbox WHERE receiver = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
        );
        self.inner.db.run("remove messages", sql.with(receiver).with(most)).await
    }

    /// Takes out the messages to all but these receivers.
    pub async fn keep_messages_of(&self, receivers: &[String]) -> Result<u64, StoreError> {
        let mut sql = Sql::new("DELETE FROM outbox WHERE receiver NOT IN ('no receiver'");
        for receiver in receivers {
            sql.push(", ").bind(receiver.as_str());
        }
        sql.push(")");
        self.inner.db.run("remove messages", sql).await
    }

    /// The statements that go with the line of history.
    pub(super) fn message_lines(&self, node: &Node, event: &HistoryEvent) -> Vec<Sql> {
        let Some(announce) = self.inner.announce.get() else { return Vec::new() };
        announce(node, event).into_iter().map(|message| insert(message, "")).collect()
    }

    /// Leaves messages of a subject of which only the newest is worth sending: each replaces those about the same node
    /// that still wait.
    pub async fn leave_newest(&self, topic: &str, messages: Vec<Message>) -> Result<(), StoreError> {
        let mut statements = Vec::with_capacity(messages.len() * 2);
        for message in messages {
            let old = Sql::new("DELETE FROM outbox WHERE receiver = $1 AND node = $2 AND topic = $3");
            statements.push(old.with(message.receiver.as_str()).with(message.node.to_string()).with(topic));
            statements.push(insert(message, topic));
        }
        if statements.is_empty() {
            return Ok(());
        }
        self.inner.db.write("leave messages", &statements).await.map(drop)
    }
}

fn insert(message: Message, topic: &str) -> Sql {
    Sql::new("INSERT INTO outbox (id, receiver, node, created, body, topic) VALUES ($1, $2, $3, $4, $5, $6)")
        .with(message.id.to_string())
        .with(message.receiver)
        .with(message.node.to_string())
        .with(message.created.timestamp_micros())
        .with(message.body)
        .with(topic)
}
