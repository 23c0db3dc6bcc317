//! Where vendors differ from the standard, as a table.

/// What a vendor's BMC needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quirks {
    /// `BootSourceOverrideEnabled` goes into every change of the boot source, also when it does not change.
    pub(super) always_send_enabled: bool,
    /// Every change of the boot source must name mode, duration and target.
    pub(super) full_boot_request: bool,
    /// Choosing the disk for good in UEFI mode makes the firmware restore older boot entries.
    pub(super) no_persistent_disk_in_uefi: bool,
}

const NONE: Quirks =
    Quirks { always_send_enabled: false, full_boot_request: false, no_persistent_disk_in_uefi: false };

/// Part of the manufacturer's name in lower case, and its quirks. The first match counts.
const TABLE: &[(&str, Quirks)] = &[
    ("supermicro", Quirks { always_send_enabled: true, ..NONE }),
    ("american megatrends", Quirks { full_boot_request: true, ..NONE }),
    ("ami", Quirks { full_boot_request: true, ..NONE }),
    ("asrockrack", Quirks { full_boot_request: true, ..NONE }),
    ("lenovo", Quirks { no_persistent_disk_in_uefi: true, ..NONE }),
];

/// The quirks of a manufacturer.
pub(super) fn of(manufacturer: &str) -> Quirks {
    let name = manufacturer.to_ascii_lowercase();
    let matches = |pattern: &str| if pattern.len() <= 3 { name == pattern } else { name.contains(pattern) };
    TABLE.iter().find(|(pattern, _)| matches(pattern)).map_or(NONE, |(_, quirks)| *quirks)
}
