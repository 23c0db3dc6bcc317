//! What a machine is made of, as its BMC tells it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::{bmc::BmcError, node::Dictionary};

/// What an out-of-band inspection finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In the JSON form of Ironic's inventory: `cpu`, `memory`, `disks`, `interfaces`, `system_vendor`, `boot`, …
    pub inventory: Dictionary,
    /// For `properties`: `memory_mb`, `cpus`, `cpu_arch`, `local_gb`, as far as they are known.
    pub properties: Dictionary,
    /// For `properties.capabilities`: `server_model`, `secure_boot`, `ilo_firmware_version`, …
    pub capabilities: BTreeMap<String, String>,
    /// Beside the inventory: LLDP and such.
    pub plugin_data: Dictionary,
}

/// Inspection without booting anything.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// Looks at all that the BMC tells.
    async fn look(&self) -> Result<Found, BmcError>;
    /// Whether the machine must be on for the answer to be whole.
    fn needs_power(&self) -> bool {
        false
    }
}
