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
    /// Calls at the same time, 1 to 12; otherwise 2.
    pub concurrency: Option<u32>,
    /// Milliseconds from the start of one call to the start of the next, at most a minute.
    pub spacing_ms: Option<u32>,
}
