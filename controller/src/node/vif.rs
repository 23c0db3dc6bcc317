//! Virtual interfaces of a network service, which a node's ports and port groups hold.

use serde_json::Value;

use super::Dictionary;

/// Where a port or port group keeps its VIF, in `internal_info`: Ironic's name.
pub const KEY: &str = "tenant_vif_port_id";

/// The VIF that this `internal_info` holds.
#[must_use]
pub fn held(internal_info: &Dictionary) -> Option<&str> {
    internal_info.get(KEY).and_then(Value::as_str)
}
