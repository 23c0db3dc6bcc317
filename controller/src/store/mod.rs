//! The database: nodes, ports, boots, steps, logs, history. No business words, no I/O but SQL.
//!
//! One row per node: a few columns to filter on, and the whole [`Node`] as JSON beside them.

use std::path::Path;

use bessemer_proto::{
    ids::{BootId, NodeId, StepId},
    v1::LogRecord,
};
use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::node::{Node, Port, ProvisionState};

/// Handle to the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {}

/// What went wrong. Callers decide by variant.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such row.
    #[error("{what} {ident} could not be found")]
    NotFound {
        /// `Node`, `Port`.
        what: &'static str,
        /// What was looked for.
        ident: String,
    },
    /// A unique value is taken.
    #[error("{what} with {field} {value} already exists")]
    Duplicate {
        /// `A node`, `A port`.
        what: &'static str,
        /// The column.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// Somebody else wrote the row since it was read.
    #[error("{what} {ident} was changed by somebody else meanwhile")]
    Conflict {
        /// `Node`.
        what: &'static str,
        /// Which one.
        ident: String,
    },
    /// The database itself.
    #[error("the database could not {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A row that cannot be read.
    #[error("{what} {ident} in the database cannot be read")]
    Corrupt {
        /// `Node`.
        what: &'static str,
        /// Which one.
        ident: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// One boot of the deploy ramdisk on a node.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its id.
    pub id: BootId,
    /// Of which node.
    pub node: NodeId,
    /// SHA-256 of the join token.
    pub token_hash: Vec<u8>,
    /// Until when the token may be used.
    pub token_expires: DateTime<Utc>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that used the token.
    pub enrolled_key_hash: Option<Vec<u8>>,
    /// When it was made: the newest boot of a node wins.
    pub created: DateTime<Utc>,
    /// The deploy is over or was taken down: nothing of this boot is accepted any more.
    pub closed: bool,
}

/// One execution of an in-band step.
#[derive(Clone, Debug)]
pub struct StepRow {
    /// Its id.
    pub id: StepId,
    /// On which node.
    pub node: NodeId,
    /// In which boot.
    pub boot: BootId,
    /// Name of the step.
    pub name: String,
    /// Counts from 1.
    pub attempt: u32,
    /// Arguments. May hold secrets.
    pub arguments: Value,
    /// Seconds the agent has for it.
    pub deadline_seconds: u32,
    /// What became of it; `None` while not finished.
    pub outcome: Option<StepOutcome>,
    /// When it was made.
    pub created: DateTime<Utc>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StepOutcome {
    /// With this result.
    Succeeded(Value),
    /// With this error, a sentence.
    Failed(String),
}

/// A line of a node's history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEvent {
    /// When.
    pub time: DateTime<Utc>,
    /// State before.
    pub from: ProvisionState,
    /// State after.
    pub to: ProvisionState,
    /// Error, when the change was a failure.
    pub error: Option<String>,
}

/// A stored line of an agent's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Counts up per controller.
    pub id: i64,
    /// The boot it comes from.
    pub boot: BootId,
    /// The record.
    pub record: LogRecord,
}

/// Which nodes a listing shows.
#[derive(Clone, Debug, Default)]
pub struct NodeFilter {
    /// Only in these states; empty means all.
    pub provision_states: Vec<ProvisionState>,
    /// Only of this driver.
    pub driver: Option<String>,
    /// Only of this resource class.
    pub resource_class: Option<String>,
    /// Only with this instance.
    pub instance_uuid: Option<String>,
    /// Only with (true) or without (false) an instance.
    pub associated: Option<bool>,
    /// Only in (true) or out of (false) maintenance.
    pub maintenance: Option<bool>,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::unused_async,
    reason = "skeleton, replaced by the owner of this room"
)]
impl Store {
    /// Opens (and makes, and migrates) the database file.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Adds a node. [`StoreError::Duplicate`] when uuid, name or instance_uuid is taken.
    pub async fn create_node(&self, node: &Node) -> Result<(), StoreError> {
        todo!()
    }
    /// The node with that UUID or name.
    pub async fn node(&self, ident: &str) -> Result<Node, StoreError> {
        todo!()
    }
    /// Nodes in order of creation.
    pub async fn nodes(&self, filter: &NodeFilter) -> Result<Vec<Node>, StoreError> {
        todo!()
    }
    /// Writes a node whose `version` is the one read; counts it up, sets `updated_at`. Together with a line of
    /// history when there is one, in one transaction.
    pub async fn update_node(
        &self,
        node: &mut Node,
        history: Option<&HistoryEvent>,
    ) -> Result<(), StoreError> {
        todo!()
    }
    /// Removes a node with all that hangs on it.
    pub async fn delete_node(&self, node: NodeId) -> Result<(), StoreError> {
        todo!()
    }
    /// A node's history, newest first.
    pub async fn history(&self, node: NodeId, limit: u32) -> Result<Vec<HistoryEvent>, StoreError> {
        todo!()
    }

    /// Adds a port. [`StoreError::Duplicate`] when the MAC address is taken.
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        todo!()
    }
    /// The port with that UUID.
    pub async fn port(&self, uuid: &str) -> Result<Port, StoreError> {
        todo!()
    }
    /// Ports in order of creation, all or a node's, all or with that MAC address.
    pub async fn ports(&self, node: Option<NodeId>, address: Option<&str>) -> Result<Vec<Port>, StoreError> {
        todo!()
    }
    /// Writes a port.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        todo!()
    }
    /// Removes a port.
    pub async fn delete_port(&self, uuid: &str) -> Result<(), StoreError> {
        todo!()
    }

    /// Adds a boot and closes the node's older ones.
    pub async fn create_boot(&self, boot: &Boot) -> Result<(), StoreError> {
        todo!()
    }
    /// The boot of that id.
    pub async fn boot(&self, id: BootId) -> Result<Boot, StoreError> {
        todo!()
    }
    /// Notes the key that used the token; false when another key had used it (or the boot is closed). Atomic.
    pub async fn enroll_boot(&self, id: BootId, key_hash: &[u8]) -> Result<bool, StoreError> {
        todo!()
    }
    /// Closes all boots of a node.
    pub async fn close_boots(&self, node: NodeId) -> Result<(), StoreError> {
        todo!()
    }
    /// The node's newest boot that is not closed.
    pub async fn open_boot(&self, node: NodeId) -> Result<Option<Boot>, StoreError> {
        todo!()
    }

    /// Adds a step.
    pub async fn create_step(&self, step: &StepRow) -> Result<(), StoreError> {
        todo!()
    }
    /// The step of that id.
    pub async fn step(&self, id: StepId) -> Result<StepRow, StoreError> {
        todo!()
    }
    /// Writes the outcome of a step of that node, once: a second one changes nothing. Unknown ids are an error.
    pub async fn finish_step(
        &self,
        node: NodeId,
        id: StepId,
        outcome: &StepOutcome,
    ) -> Result<(), StoreError> {
        todo!()
    }

    /// Adds log records of a boot, keeping at most the newest 10,000 of a node.
    pub async fn append_log(
        &self,
        node: NodeId,
        boot: BootId,
        records: &[LogRecord],
    ) -> Result<(), StoreError> {
        todo!()
    }
    /// Log lines of a node with an id above `after`, oldest first.
    pub async fn log(&self, node: NodeId, after: i64, limit: u32) -> Result<Vec<LogLine>, StoreError> {
        todo!()
    }
}
