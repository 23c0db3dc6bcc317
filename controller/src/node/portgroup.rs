//! Port groups: ports of a node that work as one (bonds).

use bessemer_proto::ids::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Dictionary;

/// The mode of a port group that names none, as in Ironic.
pub const DEFAULT_MODE: &str = "active-backup";

/// Ironic's port group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Portgroup {
    /// `uuid`.
    pub uuid: Uuid,
    /// `node_uuid`.
    #[serde(rename = "node_uuid")]
    pub node: NodeId,
    /// `name`, unique.
    #[serde(default)]
    pub name: Option<String>,
    /// `address`: MAC address, lower case with colons; unique.
    #[serde(default)]
    pub address: Option<String>,
    /// `mode`: how Linux bonds the ports.
    pub mode: String,
    /// `properties`: more about the bond.
    #[serde(default)]
    pub properties: Dictionary,
    /// `standalone_ports_supported`: its ports also work alone.
    pub standalone_ports_supported: bool,
    /// `physical_network`.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// `category`.
    #[serde(default)]
    pub category: Option<String>,
    /// `dynamic_portgroup`: made by the controller for an instance.
    #[serde(default)]
    pub dynamic_portgroup: bool,
    /// `internal_info`.
    #[serde(default)]
    pub internal_info: Dictionary,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
}
