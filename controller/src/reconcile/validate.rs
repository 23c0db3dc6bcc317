//! What can be said about a node without touching its hardware.

use super::{
    context::Context,
    engine::Engine,
    error::{Validation, sentence},
};
use crate::{
    config_drive::ConfigDrives,
    drivers::{self, Interface},
    node::{Node, firmware::WantedFirmware},
};

/// In the order of Ironic's answer; the vendor interface is not validated.
const VALIDATED: [&str; 12] = [
    "boot",
    "deploy",
    "management",
    "network",
    "power",
    "bios",
    "console",
    "firmware",
    "inspect",
    "raid",
    "rescue",
    "storage",
];

// === impl Engine ===

impl Engine {
    /// What `node validate` says. May not touch hardware.
    #[must_use]
    pub fn validate(&self, node: &Node) -> Vec<Validation> {
        let driver = drivers::get(&node.driver);
        let result = |kind: &'static str| match &driver {
            Err(error) => Err(error.to_string()),
            Ok(driver) => match driver.interface(kind) {
                None => Err(unsupported(driver.name, kind)),
                Some(interface) => self.validate_interface(node, driver.name, interface),
            },
        };
        VALIDATED
            .into_iter()
            .map(|interface| Validation { interface, result: Some(result(interface)) })
            .collect()
    }

    fn validate_interface(&self, node: &Node, driver: &str, interface: &Interface) -> Result<(), String> {
        let name = node.interfaces.get(interface.kind).map_or(interface.default, String::as_str);
        if name == NO_BOOT {
            return Err(cannot_boot(driver));
        }
        if drivers::is_absent(name) {
            return Err(unsupported(driver, interface.kind));
        }
        match interface.kind {
            "inspect" | "raid" if name == "fake" => Ok(()),
            "power" | "management" | "bios" | "console" | "firmware" | "inspect" | "raid" => {
                bmc(&self.inner.cx, node)
            }
            "boot" if name == "fake" => Ok(()),
            "boot" => bmc(&self.inner.cx, node).and_then(|()| firmware(node)),
            "deploy" if name == "fake" => Ok(()),
            "deploy" if name == "noop" => Err(unsupported(driver, "deploy")),
            "deploy" => images(&self.inner.cx, node),
            _ => Ok(()),
        }
    }
}

fn unsupported(driver: &str, kind: &str) -> String {
    format!("Driver {driver} does not support {kind} (disabled or not implemented).")
}

/// The boot interface of machines that no ramdisk can be booted on.
const NO_BOOT: &str = "no-boot";

fn cannot_boot(driver: &str) -> String {
    format!(
        "driver {driver} cannot boot the deploy ramdisk: its BMC has no virtual media, and booting by network (pxe, \
         ipxe) is not there yet. The driver can power the machine, choose its boot device, read its sensors and serve \
         its console; to deploy it, enrol it with the driver of its Redfish BMC, if it has one."
    )
}

/// Whether a deploy may start.
pub(super) fn deployable(cx: &Context, node: &Node) -> Result<(), String> {
    drivers::get(&node.driver).map_err(|error| error.to_string())?;
    bmc(cx, node)?;
    match drivers::chosen(node, "deploy") {
        Some("direct") => {}
        Some("fake") => return Ok(()),
        _ => return Err(unsupported(&node.driver, "deploy")),
    }
    if drivers::chosen(node, "boot") == Some(NO_BOOT) {
        return Err(cannot_boot(&node.driver));
    }
    if node.disable_power_off {
        return Err("disable_power_off is set, and a deploy must power the machine off".to_owned());
    }
    firmware(node)?;
    images(cx, node)
}

/// Whether a running machine may be taken over as it is: it must be reachable, and what is said of its image usable.
pub(super) fn adoptable(cx: &Context, node: &Node) -> Result<(), String> {
    drivers::get(&node.driver).map_err(|error| error.to_string())?;
    bmc(cx, node)?;
    firmware(node)?;
    let is_direct = drivers::chosen(node, "deploy") == Some("direct");
    match is_direct && node.instance_info.contains_key("image_source") {
        true => images(cx, node),
        false => Ok(()),
    }
}

fn images(cx: &Context, node: &Node) -> Result<(), String> {
    cx.images.check(node).map_err(|error| sentence(&error))?;
    ConfigDrives::check_form(node).map_err(|error| sentence(&error))
}

fn bmc(cx: &Context, node: &Node) -> Result<(), String> {
    (cx.open_bmc)(node).map(drop).map_err(|error| sentence(&error))
}

fn firmware(node: &Node) -> Result<(), String> {
    WantedFirmware::of(node).map(drop).map_err(|error| error.to_string())
}
