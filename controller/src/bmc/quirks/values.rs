//! What rules can set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a BMC differs from its standard. The default is the standard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// `BootSourceOverrideEnabled` goes into every change of the boot source, also when it does not change.
    pub always_send_enabled: bool,
    /// Every change of the boot source must name mode, duration and target.
    pub full_boot_request: bool,
    /// Choosing the disk for good in UEFI mode makes the firmware restore older boot entries.
    pub no_persistent_disk_in_uefi: bool,
    /// IPMI: the boot device selector (0 to 15) that means the disk in UEFI mode; otherwise 2.
    pub ipmi_uefi_disk: Option<u8>,
    /// The virtual CD drive is `UsbCd`, also where the BMC offers `Cd`.
    pub virtual_cd_is_usb: bool,
    /// Attributes of the manager, with their values, that boot the virtual CD once; the boot override cannot.
    pub virtual_cd_attributes: Option<ManagerAttributes>,
    /// Ids of the virtual drives that machines boot from, where not all that take a CD are.
    pub cd_slots: Option<Vec<String>>,
    /// Calls at the same time, 1 to 12; otherwise 2.
    pub concurrency: Option<u32>,
    /// Milliseconds from the start of one call to the start of the next, at most a minute.
    pub spacing_ms: Option<u32>,
}

/// Attributes of a manager and the values they get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagerAttributes {
    /// Where the manager links the resources with its attributes, as a JSON pointer.
    pub at: String,
    /// Names and values.
    pub values: BTreeMap<String, String>,
}

/// Calls at the same time.
const CONCURRENCY: std::ops::RangeInclusive<u32> = 1..=12;
/// Milliseconds.
const MAX_SPACING: u32 = 60_000;

/// Boot device selectors have four bits.
const MAX_DEVICE: u8 = 15;

impl Quirks {
    /// The text is what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(wrong) = self.concurrency.filter(|calls| !CONCURRENCY.contains(calls)) {
            return Err(format!("concurrency is from 1 to 12, not {wrong}"));
        }
        if let Some(wrong) = self.spacing_ms.filter(|ms| *ms > MAX_SPACING) {
            return Err(format!("spacing_ms is at most {MAX_SPACING}, not {wrong}"));
        }
        if let Some(wrong) = self.ipmi_uefi_disk.filter(|device| *device > MAX_DEVICE) {
            return Err(format!("ipmi_uefi_disk is at most {MAX_DEVICE}, not {wrong}"));
        }
        Ok(())
    }
}
