//! Disks and volumes, as BMCs tell of them.

use serde::{Deserialize, Serialize};

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
    /// It stands by for a disk that fails: taken only when it is named.
    pub is_spare: bool,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// [`PhysicalDrive::id`]s; empty: the BMC does not tell them.
    pub drives: Vec<String>,
    /// An array that a controller made, not a namespace or a disk that is handed through.
    pub is_array: bool,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl StorageController {
    /// What [`crate::bmc::Raid::delete`] may be asked for: arrays of controllers that make arrays.
    pub fn arrays(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().filter(|volume| volume.is_array && !self.levels.is_empty())
    }

    /// As it is when all its arrays are gone.
    pub fn without_arrays(&self) -> Self {
        let gone: Vec<_> = self.arrays().map(|volume| volume.id.clone()).collect();
        let mut left = self.clone();
        left.volumes.retain(|volume| !gone.contains(&volume.id));
        left.drives.iter_mut().for_each(|drive| drive.volumes.retain(|volume| !gone.contains(volume)));
        left
    }
}
