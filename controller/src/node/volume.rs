//! Volumes that a node boots from over the network: who it is (connectors), and what it opens (targets).

use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Dictionary;

/// Ironic's volume connector: a name of the node on a storage network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeConnector {
    /// `uuid`.
    pub uuid: Uuid,
    /// `node_uuid`.
    #[serde(rename = "node_uuid")]
    pub node: NodeId,
    /// `type`: `iqn`, `ip`, `mac`, `wwnn`, `wwpn`, `port`, `portgroup`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `connector_id`: unique within its type.
    pub connector_id: String,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
}

/// Ironic's volume target. Its properties may hold CHAP secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeTarget {
    /// `uuid`.
    pub uuid: Uuid,
    /// `node_uuid`.
    #[serde(rename = "node_uuid")]
    pub node: NodeId,
    /// `volume_type`: `iscsi`, `fibre_channel`.
    pub volume_type: String,
    /// `boot_index`: 0 is booted from; unique within the node.
    pub boot_index: i64,
    /// `volume_id`.
    pub volume_id: String,
    /// `properties`: how to open it.
    #[serde(default)]
    pub properties: Dictionary,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
}

/// Without the properties: they may hold secrets.
impl std::fmt::Debug for VolumeTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeTarget")
            .field("uuid", &self.uuid)
            .field("node", &self.node)
            .field("boot_index", &self.boot_index)
            .finish_non_exhaustive()
    }
}
