//! Words and rules about machines. No I/O, imports nothing from the rest of the house.

pub mod allocation;
pub mod capabilities;
pub mod chassis;
pub mod deploy_template;
pub mod events;
pub mod firmware;
pub mod hardware;
pub mod hardware_cache;
pub mod inspection;
pub mod inspection_rule;
pub mod inventory;
pub mod named_steps;
pub mod names;
pub mod network_data;
pub mod plan;
pub mod portgroup;
pub mod raid;
pub mod rules;
pub mod runbook;
pub(crate) mod secrets;
pub mod state;
pub mod traits;
pub mod vif;
pub mod volume;

use std::{collections::BTreeMap, fmt};

use bessemer_proto::ids::NodeId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use state::{ProvisionState, Verb};

/// A free-form dictionary of the Ironic API.
pub type Dictionary = Map<String, Value>;

/// One machine under management: the fields of Ironic's node, and Bessemer's own at the end.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `uuid`.
    pub uuid: NodeId,
    /// `name`, unique.
    pub name: Option<String>,
    /// `driver`: the hardware type.
    pub driver: String,
    /// `driver_info`: how to reach the BMC. Holds secrets.
    #[serde(default)]
    pub driver_info: Dictionary,
    /// `driver_internal_info`: what the controller remembers.
    #[serde(default)]
    pub driver_internal_info: Dictionary,
    /// `properties`.
    #[serde(default)]
    pub properties: Dictionary,
    /// `instance_info`: what is to be deployed. May hold secrets.
    #[serde(default)]
    pub instance_info: Dictionary,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
    /// `network_data`.
    #[serde(default)]
    pub network_data: Dictionary,
    /// The `*_interface` fields, by kind (`power`, `boot`, …). Filled from the driver's defaults.
    #[serde(default)]
    pub interfaces: BTreeMap<String, String>,
    /// `instance_uuid`.
    pub instance_uuid: Option<String>,
    /// `instance_name`.
    pub instance_name: Option<String>,
    /// `resource_class`.
    pub resource_class: Option<String>,
    /// `conductor_group`.
    #[serde(default)]
    pub conductor_group: String,
    /// `owner`.
    pub owner: Option<String>,
    /// `lessee`.
    pub lessee: Option<String>,
    /// `shard`.
    pub shard: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `chassis_uuid`.
    pub chassis_uuid: Option<String>,
    /// `parent_node`.
    pub parent_node: Option<String>,
    /// `automated_clean`.
    pub automated_clean: Option<bool>,
    /// `protected` and `protected_reason`.
    #[serde(default)]
    pub protected: bool,
    /// `protected_reason`.
    pub protected_reason: Option<String>,
    /// `retired`.
    #[serde(default)]
    pub retired: bool,
    /// `retired_reason`.
    pub retired_reason: Option<String>,
    /// `disable_power_off`.
    #[serde(default)]
    pub disable_power_off: bool,
    /// `maintenance`.
    #[serde(default)]
    pub maintenance: bool,
    /// `maintenance_reason`.
    pub maintenance_reason: Option<String>,
    /// `fault`.
    pub fault: Option<String>,
    /// `provision_state`.
    pub provision_state: ProvisionState,
    /// `target_provision_state`.
    pub target_provision_state: Option<ProvisionState>,
    /// `provision_updated_at`: when the state was entered, or an agent last reported in it.
    pub provision_updated_at: Option<DateTime<Utc>>,
    /// `power_state`; `None` is unknown.
    pub power_state: Option<PowerState>,
    /// `target_power_state`.
    pub target_power_state: Option<PowerTarget>,
    /// `boot_mode`: what the BMC last said.
    pub boot_mode: Option<BootMode>,
    /// `secure_boot`: what the BMC last said.
    pub secure_boot: Option<bool>,
    /// `last_error`.
    pub last_error: Option<String>,
    /// `reservation`: the controller that works on the node now.
    pub reservation: Option<String>,
    /// `deploy_step`: the step under way, `{interface, step, priority}`.
    #[serde(default)]
    pub deploy_step: Dictionary,
    /// `clean_step`.
    #[serde(default)]
    pub clean_step: Dictionary,
    /// `service_step`.
    #[serde(default)]
    pub service_step: Dictionary,
    /// `traits`: what the machine can do, in the order of the alphabet.
    #[serde(default)]
    pub traits: Vec<String>,
    /// `raid_config`: what the machine's RAID was last seen to be.
    #[serde(default)]
    pub raid_config: Dictionary,
    /// `target_raid_config`: what it is to be.
    #[serde(default)]
    pub target_raid_config: Dictionary,
    /// `console_enabled`.
    #[serde(default)]
    pub console_enabled: bool,
    /// `health`: what the BMC last said (`OK`, `Warning`, `Critical`).
    #[serde(default)]
    pub health: Option<String>,
    /// `allocation_uuid`.
    #[serde(default)]
    pub allocation_uuid: Option<uuid::Uuid>,
    /// `created_at`.
    pub created_at: DateTime<Utc>,
    /// `updated_at`.
    pub updated_at: Option<DateTime<Utc>>,
    /// `inspection_finished_at`.
    pub inspection_finished_at: Option<DateTime<Utc>>,
    /// `inspection_started_at`.
    pub inspection_started_at: Option<DateTime<Utc>>,
    /// Why the node waits; shown in `driver_internal_info`.
    pub wait_reason: Option<String>,
    /// Until when it waits; then the state fails.
    pub wait_until: Option<DateTime<Utc>>,
    /// Counts up with each write: a writer that read an older one is refused.
    #[serde(default)]
    pub version: i64,
}

/// Whether a machine is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerState {
    /// `power on`.
    #[serde(rename = "power on")]
    On,
    /// `power off`.
    #[serde(rename = "power off")]
    Off,
}

/// What the API can ask of a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerTarget {
    /// `power on`.
    #[serde(rename = "power on")]
    On,
    /// `power off`: at once.
    #[serde(rename = "power off")]
    Off,
    /// `rebooting`: off, then on.
    #[serde(rename = "rebooting")]
    Reboot,
    /// `soft power off`: by the operating system.
    #[serde(rename = "soft power off")]
    SoftOff,
    /// `soft rebooting`.
    #[serde(rename = "soft rebooting")]
    SoftReboot,
}

/// How firmware boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// UEFI.
    Uefi,
    /// BIOS, also called legacy.
    Bios,
}

/// A network interface of a node: Ironic's port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// `uuid`.
    pub uuid: uuid::Uuid,
    /// `node_uuid`.
    pub node: NodeId,
    /// `address`: MAC address, lower case with colons; unique.
    pub address: String,
    /// `name`.
    pub name: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `pxe_enabled`.
    pub pxe_enabled: bool,
    /// `physical_network`.
    pub physical_network: Option<String>,
    /// `local_link_connection`.
    #[serde(default)]
    pub local_link_connection: Dictionary,
    /// `extra`.
    #[serde(default)]
    pub extra: Dictionary,
    /// `internal_info`.
    #[serde(default)]
    pub internal_info: Dictionary,
    /// `is_smartnic`.
    #[serde(default)]
    pub is_smartnic: bool,
    /// `portgroup_uuid`.
    #[serde(rename = "portgroup_uuid", default)]
    pub portgroup: Option<uuid::Uuid>,
    /// `vendor`.
    #[serde(default)]
    pub vendor: Option<String>,
    /// `category`.
    #[serde(default)]
    pub category: Option<String>,
    /// `available_for_dynamic_portgroup`.
    #[serde(default = "yes")]
    pub available_for_dynamic_portgroup: bool,
    /// `created_at`.
    pub created_at: DateTime<Utc>,
    /// `updated_at`.
    pub updated_at: Option<DateTime<Utc>>,
}

fn yes() -> bool {
    true
}

// === impl Node ===

/// Names the node and says where it is; the dictionaries may hold secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("uuid", &self.uuid)
            .field("name", &self.name)
            .field("provision_state", &self.provision_state)
            .field("last_error", &self.last_error)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// A node as `POST /v1/nodes` makes it.
    #[must_use]
    pub fn new(driver: impl Into<String>) -> Self {
        Self {
            uuid: NodeId::random(),
            name: None,
            driver: driver.into(),
            driver_info: Map::new(),
            driver_internal_info: Map::new(),
            properties: Map::new(),
            instance_info: Map::new(),
            extra: Map::new(),
            network_data: Map::new(),
            interfaces: BTreeMap::new(),
            instance_uuid: None,
            instance_name: None,
            resource_class: None,
            conductor_group: String::new(),
            owner: None,
            lessee: None,
            shard: None,
            description: None,
            chassis_uuid: None,
            parent_node: None,
            automated_clean: None,
            protected: false,
            protected_reason: None,
            retired: false,
            retired_reason: None,
            disable_power_off: false,
            maintenance: false,
            maintenance_reason: None,
            fault: None,
            provision_state: ProvisionState::Enroll,
            target_provision_state: None,
            provision_updated_at: None,
            power_state: None,
            target_power_state: None,
            boot_mode: None,
            secure_boot: None,
            last_error: None,
            reservation: None,
            deploy_step: Map::new(),
            clean_step: Map::new(),
            service_step: Map::new(),
            traits: Vec::new(),
            raid_config: Map::new(),
            target_raid_config: Map::new(),
            console_enabled: false,
            health: None,
            allocation_uuid: None,
            created_at: Utc::now(),
            updated_at: None,
            inspection_finished_at: None,
            inspection_started_at: None,
            wait_reason: None,
            wait_until: None,
            version: 0,
        }
    }

    /// How messages call the node: its name, else its UUID.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.uuid.to_string())
    }

    /// A capability of `properties.capabilities` (`"boot_mode:uefi,cpu_vt:true"`); those of
    /// `instance_info.capabilities` win.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<String> {
        [&self.instance_info, &self.properties]
            .iter()
            .find_map(|info| capabilities::parse(info.get("capabilities")?).remove(name))
    }
}

// === impl Port ===

impl Port {
    /// A port as `POST /v1/ports` makes it.
    #[must_use]
    pub fn new(node: NodeId, address: String) -> Self {
        Self {
            uuid: uuid::Uuid::new_v4(),
            node,
            address,
            name: None,
            description: None,
            pxe_enabled: true,
            physical_network: None,
            local_link_connection: Map::new(),
            extra: Map::new(),
            internal_info: Map::new(),
            is_smartnic: false,
            portgroup: None,
            vendor: None,
            category: None,
            available_for_dynamic_portgroup: true,
            created_at: Utc::now(),
            updated_at: None,
        }
    }
}

// === impl PowerState, PowerTarget, BootMode ===

macro_rules! words {
    ($name:ident { $($variant:ident = $text:literal),* }) => {
        impl $name {
            /// The word of the REST API.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::node::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::node::UnknownWord> {
                match text { $($text => Ok(Self::$variant),)* _ => Err($crate::node::UnknownWord(text.chars().take(64).collect())) }
            }
        }
    };
}
pub(crate) use words;

/// A word that the API does not know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a known value")]
pub struct UnknownWord(pub String);

words!(PowerState { On = "power on", Off = "power off" });
words!(PowerTarget {
    On = "power on",
    Off = "power off",
    Reboot = "rebooting",
    SoftOff = "soft power off",
    SoftReboot = "soft rebooting"
});
words!(BootMode { Uefi = "uefi", Bios = "bios" });
