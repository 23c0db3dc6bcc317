//! What rules can set.

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
    /// Calls at the same time, 1 to 12; otherwise 2.
    pub concurrency: Option<u32>,
    /// Milliseconds from the start of one call to the start of the next, at most a minute.
    pub spacing_ms: Option<u32>,
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
