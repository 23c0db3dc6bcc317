//! DMI strings that the kernel has read.

use bessemer_proto::inventory::{Firmware, SystemVendor};

use crate::{disk::sysfs, steps::Roots};

/// What boards carry whose maker never filled the field in.
const PLACEHOLDERS: [&str; 8] = [
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "not applicable",
    "none",
    "system serial number",
    "system product name",
    "0123456789",
];

pub(super) fn collect(roots: &Roots) -> SystemVendor {
    let text = |name: &str| {
        let value = sysfs::text(&roots.sys.join("class/dmi/id").join(name))?;
        (!PLACEHOLDERS.contains(&value.to_ascii_lowercase().as_str())).then_some(value)
    };
    SystemVendor {
        product_name: text("product_name"),
        serial_number: text("product_serial"),
        manufacturer: text("sys_vendor"),
        firmware: Firmware {
            vendor: text("bios_vendor"),
            version: text("bios_version"),
            build_date: text("bios_date"),
        },
    }
}
