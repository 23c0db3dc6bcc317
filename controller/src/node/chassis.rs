//! Chassis: a name for a group of nodes, as a rack.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Dictionary;

/// Ironic's chassis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chassis {
    /// `uuid`.
    pub uuid: Uuid,
    /// `description`.
    #[serde(default)]
    pub description: Option<String>,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
}
