//! What a BMC tells of a machine and the API shows later: firmware settings and firmware versions.

use serde::{Deserialize, Serialize};

/// One setting of the firmware, with Ironic's names. What the BMC does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BiosSetting {
    /// Name, unique in a node.
    pub name: String,
    /// Value in force.
    pub value: Option<String>,
    /// `Enumeration`, `String`, `Integer`, `Boolean`, `Password`.
    pub attribute_type: Option<String>,
    /// What an enumeration may be.
    pub allowable_values: Option<Vec<String>>,
    /// Least value of an integer.
    pub lower_bound: Option<i64>,
    /// Largest value of an integer.
    pub upper_bound: Option<i64>,
    /// Shortest string.
    pub min_length: Option<i64>,
    /// Longest string.
    pub max_length: Option<i64>,
    /// Whether it cannot be changed.
    pub read_only: Option<bool>,
    /// Whether a change needs a restart.
    pub reset_required: Option<bool>,
    /// Whether it belongs to this one machine.
    pub unique: Option<bool>,
}

/// The firmware of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareComponent {
    /// `bios`, `bmc`, `nic:…`; unique in a node.
    pub component: String,
    /// Version that runs.
    pub current_version: Option<String>,
    /// Who made it.
    pub vendor: Option<String>,
    /// Which model it is.
    pub model: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
}
