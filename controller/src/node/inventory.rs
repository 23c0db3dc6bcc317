//! What an inspection found.

use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Dictionary;

/// The result of the last inspection of a node, as `GET nodes/X/inventory` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Whose it is.
    pub node: NodeId,
    /// The hardware: interfaces, disks, memory, processors.
    pub inventory: Dictionary,
    /// What else the inspection brought.
    pub plugin_data: Dictionary,
}

impl Inventory {
    /// The UUID of the document: the node's.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.node.0
    }
}
