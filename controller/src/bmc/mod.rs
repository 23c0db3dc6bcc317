//! Out-of-band hardware behind narrow capability traits, each optional, each at most seven methods. Knows
//! nodes only as an address with credentials; knows no provision state.

mod capability;
mod config;
mod error;
pub mod fake;
pub mod ilo;
pub mod ipmi;
pub mod queue;
pub mod quirks;
pub mod redfish;
mod restart;

use std::{net::Ipv6Addr, sync::Arc};

use bessemer_proto::ids::NodeId;
use url::Url;

use crate::node::Node;
pub use capability::*;
pub use config::Config;
pub use error::BmcError;

/// What one BMC can do.
#[derive(Clone)]
pub struct Bmc {
    /// Power is the one thing every BMC can do.
    pub power: Arc<dyn Power>,
    /// Choosing what boots next.
    pub boot_device: Option<Arc<dyn BootDevice>>,
    /// UEFI or BIOS.
    pub boot_mode: Option<Arc<dyn BootModeControl>>,
    /// UEFI Secure Boot.
    pub secure_boot: Option<Arc<dyn SecureBoot>>,
    /// Virtual CD, floppy, USB stick.
    pub virtual_media: Option<Arc<dyn VirtualMedia>>,
    /// Non-maskable interrupts.
    pub nmi: Option<Arc<dyn Nmi>>,
    /// Lights that help to find the machine.
    pub indicators: Option<Arc<dyn Indicators>>,
    /// The settings of the firmware.
    pub bios: Option<Arc<dyn BiosSettings>>,
    /// Which firmware the machine has.
    pub firmware: Option<Arc<dyn FirmwareInventory>>,
    /// Replacing it.
    pub firmware_update: Option<Arc<dyn FirmwareUpdate>>,
    /// RAID volumes.
    pub raid: Option<Arc<dyn Raid>>,
    /// Who made the machine, and how it is.
    pub overview: Option<Arc<dyn Overview>>,
    /// What the machine is made of.
    pub inventory: Option<Arc<dyn Inventory>>,
    /// Temperatures, fans, power.
    pub sensors: Option<Arc<dyn Sensors>>,
    /// The machine's own log of events.
    pub log: Option<Arc<dyn SystemLog>>,
    /// Serial and graphical consoles.
    pub console: Option<Arc<dyn Console>>,
    /// Booting what a URL names.
    pub http_boot: Option<Arc<dyn HttpBoot>>,
    /// Care for the BMC itself.
    pub manager: Option<Arc<dyn Manager>>,
    /// Subscriptions to events.
    pub events: Option<Arc<dyn EventSubscriptions>>,
    /// Commands in the BMC's own bytes.
    pub raw: Option<Arc<dyn Raw>>,
}

impl Bmc {
    /// One that can do nothing but power.
    #[must_use]
    pub fn only_power(power: Arc<dyn Power>) -> Self {
        Self {
            power,
            boot_device: None,
            boot_mode: None,
            secure_boot: None,
            virtual_media: None,
            nmi: None,
            indicators: None,
            bios: None,
            firmware: None,
            firmware_update: None,
            raid: None,
            overview: None,
            inventory: None,
            sensors: None,
            log: None,
            console: None,
            http_boot: None,
            manager: None,
            events: None,
            raw: None,
        }
    }
}

/// Makes the BMC of a node from its `driver` and `driver_info`. Does not connect yet.
pub fn open(node: &Node) -> Result<Bmc, BmcError> {
    match node.driver.as_str() {
        "ipmi" => ipmi::open(node),
        "redfish" => {
            let keys = ["redfish_address", "redfish_username", "redfish_password"];
            let bmc = redfish::by_ssh(redfish::open(&node.driver_info)?, node)?;
            Ok(ipmi::console(bmc, node, keys))
        }
        "ilo" => {
            let keys = ["ilo_address", "ilo_username", "ilo_password"];
            Ok(ipmi::console(ilo::open(&node.driver_info)?, node, keys))
        }
        "fake-hardware" => fake::open(node),
        // Whoever switches the machine says so here; nothing else can be asked of it.
        "manual-management" => Ok(Bmc::only_power(fake::open(node)?.power)),
        other => Err(BmcError::DriverInfo(format!("driver \"{other}\" has no BMC"))),
    }
}

/// The host of a node's BMC as `driver_info` has it; `None` when there is none.
#[must_use]
pub fn host(node: &Node) -> Option<String> {
    let key = match node.driver.as_str() {
        "ipmi" => "ipmi_address",
        "redfish" => "redfish_address",
        "ilo" => "ilo_address",
        _ => return None,
    };
    let address = node.driver_info.get(key)?.as_str()?.trim();
    let url = match address.contains("://") {
        true => Url::parse(address),
        // A bare IPv6 address is none of a URL.
        false if address.parse::<Ipv6Addr>().is_ok() => return Some(address.to_owned()),
        false => Url::parse(&format!("https://{address}")),
    };
    Some(url.ok()?.host_str()?.trim_matches(['[', ']']).to_owned())
}

/// Forgets what is remembered of a node that is no more.
pub fn forget(node: NodeId) {
    fake::forget(node);
}

/// Ends what is kept open at BMCs: for when the controller stops.
pub async fn close_sessions() {
    redfish::close_sessions().await;
}
