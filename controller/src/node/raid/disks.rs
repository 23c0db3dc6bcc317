//! Disks and volumes, as BMCs tell of them.

/// A RAID controller or another set of disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageController {
    /// As the BMC calls it.
    pub id: String,
    /// As people call it.
    pub name: String,
    /// `0`, `1`, `5+0`, …; empty: it makes no volumes.
    pub levels: Vec<String>,
    /// Its disks.
    pub drives: Vec<PhysicalDrive>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
}

/// A physical disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhysicalDrive {
    /// As the BMC calls it; what `physical_disks` of a RAID configuration names.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// `hdd` or `ssd`.
    pub disk_type: Option<String>,
    /// `sata`, `sas`, `scsi`, `nvme`.
    pub interface_type: Option<String>,
    /// Volumes it is part of.
    pub volumes: Vec<String>,
    /// Whether it may be used.
    pub healthy: bool,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// As the BMC calls it.
    pub id: String,
    /// As people call it.
    pub name: String,
    /// `0`, `1`, `5+0`, …
    pub level: Option<String>,
    /// Bytes.
    pub size: u64,
    /// World wide name, such as `0x600508b1001c…`, if the BMC tells it: the root device hint.
    pub wwn: Option<String>,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVolume {
    /// [`StorageController::id`].
    pub controller: String,
    /// `0`, `1`, `5+0`, …
    pub level: String,
    /// Bytes; `None`: as large as possible.
    pub size: Option<u64>,
    /// Its name, if it gets one.
    pub name: Option<String>,
    /// [`PhysicalDrive::id`]s.
    pub drives: Vec<String>,
}
