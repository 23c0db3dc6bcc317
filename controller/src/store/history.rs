//! What happened to nodes: written in the transaction of the change it tells of.

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use super::{
    Store, StoreError, corrupt,
    db::{Row, Sql},
    time_of, unreadable,
};
use crate::node::{Node, ProvisionState, events};

/// Lines of history kept per node, as in Ironic.
const LINES: i64 = 300;

/// A line of a node's history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEvent {
    /// When.
    pub time: DateTime<Utc>,
    /// State before.
    pub from: ProvisionState,
    /// State after; the same when the event is about something else.
    pub to: ProvisionState,
    /// What went wrong, when something did.
    pub error: Option<String>,
    /// The rest.
    pub details: HistoryDetails,
}

/// What else is known of a line of history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryDetails {
    /// Its id in the API.
    pub uuid: Uuid,
    /// Ironic's `event_type`.
    pub event_type: String,
    /// What happened, a sentence; `None` for a change of the provision state without more to say.
    pub event: Option<String>,
    /// The controller that wrote it.
    pub conductor: Option<String>,
    /// Who asked for it.
    pub user: Option<String>,
    /// Of which project.
    pub project: Option<String>,
    /// `target_provision_state` at that time.
    pub target: Option<ProvisionState>,
    /// How long the node had been in the state before.
    pub duration_seconds: Option<i64>,
}

// === impl HistoryEvent ===

impl HistoryEvent {
    /// The node, as it is now, enters another state.
    #[must_use]
    pub fn moved(node: &Node, to: ProvisionState, error: Option<String>) -> Self {
        let event_type = events::of_change(node.provision_state, to);
        Self { to, error, ..Self::noted(node, event_type, None) }
    }

    /// Something happened to the node that is no change of its provision state.
    #[must_use]
    pub fn noted(node: &Node, event_type: &str, event: impl Into<Option<String>>) -> Self {
        let time = Utc::now();
        Self {
            time,
            from: node.provision_state,
            to: node.provision_state,
            error: None,
            details: HistoryDetails {
                uuid: Uuid::new_v4(),
                event_type: event_type.to_owned(),
                event: event.into(),
                conductor: None,
                user: None,
                project: None,
                target: node.target_provision_state,
                duration_seconds: node.provision_updated_at.map(|since| (time - since).num_seconds().max(0)),
            },
        }
    }

    /// Names the controller that writes it.
    #[must_use]
    pub fn by(mut self, conductor: &str) -> Self {
        self.details.conductor = Some(conductor.to_owned());
        self
    }

    /// What happened, a sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let event = match (&self.details.event, self.from == self.to) {
            (Some(event), _) => event.clone(),
            (None, false) => {
                format!("Provision state changed from \"{}\" to \"{}\"", self.from, self.to)
            }
            (None, true) => format!("In provision state \"{}\"", self.to),
        };
        match &self.error {
            Some(error) => format!("{event}: {error}"),
            None => event,
        }
    }
}

impl Store {
    /// A node's history, newest first.
    pub async fn history(&self, node: NodeId, limit: u32) -> Result<Vec<HistoryEvent>, StoreError> {
        let sql = Sql::new(
            "SELECT time, from_state, to_state, error, details FROM history WHERE node = $1 \
             ORDER BY seq DESC LIMIT $2",
        );
        let sql = sql.with(node.to_string()).with(limit);
        let rows = self.inner.db.rows("read a node's history", &sql).await?;
        rows.iter().map(|row| event_of(node, row)).collect()
    }
}

fn event_of(node: NodeId, row: &Row) -> Result<HistoryEvent, StoreError> {
    let ident = node.to_string();
    let state = |column| -> Result<ProvisionState, StoreError> {
        let text = row.text(column)?;
        text.parse().map_err(|error| unreadable("History of node", &ident, error))
    };
    let (micros, from, to) = (row.number(0)?, state(1)?, state(2)?);
    let details = match row.maybe_text(4)? {
        Some(text) => serde_json::from_str(text).map_err(corrupt("History of node", &ident))?,
        None => derived(node, micros, from, to),
    };
    let error = row.maybe_text(3)?.map(str::to_owned);
    Ok(HistoryEvent { time: time_of(micros), from, to, error, details })
}

/// A line from before there were details: its id follows from what it says, so it stays the same.
fn derived(node: NodeId, micros: i64, from: ProvisionState, to: ProvisionState) -> HistoryDetails {
    let digest: [u8; 32] = Sha256::digest(format!("{node} {micros} {from} {to}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    HistoryDetails {
        uuid: Builder::from_custom_bytes(bytes).into_uuid(),
        event_type: events::of_change(from, to).to_owned(),
        event: None,
        conductor: None,
        user: None,
        project: None,
        target: None,
        duration_seconds: None,
    }
}

/// The statements that add a line.
pub(super) fn lines(node: NodeId, event: &HistoryEvent) -> Result<[Sql; 2], StoreError> {
    let details =
        serde_json::to_string(&event.details).map_err(corrupt("History of node", &node.to_string()))?;
    let insert = Sql::new(
        "INSERT INTO history (node, time, from_state, to_state, error, details) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .with(node.to_string())
    .with(event.time.timestamp_micros())
    .with(event.from.as_str())
    .with(event.to.as_str())
    .with(&event.error)
    .with(details);
    let trim = Sql::new(
        "DELETE FROM history WHERE node = $1 AND seq <= \
         (SELECT seq FROM history WHERE node = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
    );
    Ok([insert, trim.with(node.to_string()).with(LINES)])
}
