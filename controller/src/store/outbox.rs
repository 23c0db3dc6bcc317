//! Messages to be sent to others, written in the transaction of what they tell of.

use std::sync::Arc;

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use sqlx::{QueryBuilder, Row as _, Sqlite, Transaction};
use uuid::Uuid;

use super::{HistoryEvent, Store, StoreError, database, time_of, unreadable};
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
}

impl Store {
    /// From now on each line of history also leaves these messages. Only the first call counts.
    pub fn announce(&self, announce: Announce) {
        let _ = self.inner.announce.set(announce);
    }

    /// The oldest messages to a receiver.
    pub async fn outbox(&self, receiver: &str, most: u32) -> Result<Vec<Message>, StoreError> {
        let failed = database("read messages to be sent");
        let rows = sqlx::query(
            "SELECT id, node, created, body FROM outbox WHERE receiver = $1 ORDER BY seq LIMIT $2",
        )
        .bind(receiver)
        .bind(i64::from(most))
        .fetch_all(&self.inner.read)
        .await
        .map_err(&failed)?;
        rows.iter()
            .map(|row| {
                let id: &str = row.try_get(0).map_err(&failed)?;
                let node: &str = row.try_get(1).map_err(&failed)?;
                Ok(Message {
                    id: id.parse().map_err(|error| unreadable("Message", id, error))?,
                    receiver: receiver.to_owned(),
                    node: node.parse().map_err(|error| unreadable("Message", id, error))?,
                    created: time_of(row.try_get(2).map_err(&failed)?),
                    body: row.try_get(3).map_err(&failed)?,
                })
            })
            .collect()
    }

    /// Takes messages out that were sent or given up.
    pub async fn remove_messages(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM outbox WHERE id IN (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.to_string());
        }
        query.push(")");
        self.delete_messages(query).await.map(drop)
    }

    /// Takes out what was written before `created`; says how many messages that were.
    pub async fn expire_messages(&self, receiver: &str, created: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM outbox WHERE receiver = ");
        query.push_bind(receiver.to_owned()).push(" AND created < ").push_bind(created.timestamp_micros());
        self.delete_messages(query).await
    }

    /// Keeps the newest messages to a receiver only; says how many were taken out.
    pub async fn trim_messages(&self, receiver: &str, most: u32) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM outbox WHERE receiver = ");
        query.push_bind(receiver.to_owned()).push(" AND seq <= (SELECT seq FROM outbox WHERE receiver = ");
        query.push_bind(receiver.to_owned()).push(" ORDER BY seq DESC LIMIT 1 OFFSET ");
        query.push_bind(i64::from(most)).push(")");
        self.delete_messages(query).await
    }

    /// Takes out the messages to all but these receivers.
    pub async fn keep_messages_of(&self, receivers: &[String]) -> Result<u64, StoreError> {
        let mut query =
            QueryBuilder::<Sqlite>::new("DELETE FROM outbox WHERE receiver NOT IN ('no receiver'");
        for receiver in receivers {
            query.push(", ").push_bind(receiver.clone());
        }
        query.push(")");
        self.delete_messages(query).await
    }

    async fn delete_messages(&self, mut query: QueryBuilder<Sqlite>) -> Result<u64, StoreError> {
        let done = query.build().execute(&self.inner.write).await.map_err(database("remove messages"))?;
        Ok(done.rows_affected())
    }

    /// In the transaction that writes the line of history.
    pub(super) async fn add_messages(
        &self,
        transaction: &mut Transaction<'_, Sqlite>,
        node: &Node,
        event: &HistoryEvent,
    ) -> Result<(), StoreError> {
        let Some(announce) = self.inner.announce.get() else { return Ok(()) };
        for message in announce(node, event) {
            sqlx::query("INSERT INTO outbox (id, receiver, node, created, body) VALUES ($1, $2, $3, $4, $5)")
                .bind(message.id.to_string())
                .bind(message.receiver)
                .bind(message.node.to_string())
                .bind(message.created.timestamp_micros())
                .bind(message.body)
                .execute(&mut **transaction)
                .await
                .map_err(database("add a message"))?;
        }
        Ok(())
    }
}
